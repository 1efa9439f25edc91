"""The optimizer: Lion as an Optax transformation. Imports nothing else of lion_jax."""
