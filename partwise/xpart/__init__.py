"""X-Part: closed part meshes from a surface and boxes, by flow matching in a latent space."""
