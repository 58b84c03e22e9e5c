"""The verifier of verinfer-sc/1, our own transparent proof system, in plain Python: nothing of the prover's is used here."""
