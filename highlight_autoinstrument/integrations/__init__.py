"""One library per file, named as the package whose import wakes it; adding a file is adding an integration."""
