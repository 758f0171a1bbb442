"""CLSO: small language models picked from libraries, without gradients."""
