"""How good a method is: against the truth, against what is possible, with errors on every number."""
