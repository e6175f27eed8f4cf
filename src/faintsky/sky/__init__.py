"""What is really there: models of the sky that know no telescope."""
