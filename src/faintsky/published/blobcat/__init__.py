"""blobcat."""
