"""What single experiments are made of: their models, searches and sentences."""
