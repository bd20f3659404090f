"""speechmill: text instructions in, spoken-instruction training data out."""
