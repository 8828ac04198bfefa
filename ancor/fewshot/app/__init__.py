"""A labeling session as a page in a browser: the web around `ancor.fewshot.labeling`."""
