"""What tests share: processes, waiting for proof, places."""
