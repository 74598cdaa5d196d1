"""One file per family of Hugging Face configurations: keys in, a model configuration out."""
