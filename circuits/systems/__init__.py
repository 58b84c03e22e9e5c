"""One module for each proof system: how a package of its kind is built, and built again."""
