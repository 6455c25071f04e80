"""What is compared: a module for each thing it needs, imported only when its turn comes."""
