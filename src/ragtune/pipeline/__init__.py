"""One file per stage, workspace in, artifact out: the stage packages' objects joined with files, manifests and progress."""
