"""The story: one short function a verb, and the only place where the floors meet."""
