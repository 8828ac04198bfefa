"""Few-shot evaluation: features, episodes, classifiers, and what is reported."""
