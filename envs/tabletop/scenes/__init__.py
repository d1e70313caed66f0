"""Scene files: MuJoCo XML that model.py puts together."""
