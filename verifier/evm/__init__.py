"""A circuit's proofs on chain: the hardened verifier contract, requests and their settlement."""
