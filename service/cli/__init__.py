"""The commands of `likeness`, one file each."""
