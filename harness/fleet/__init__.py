"""Many hosts measured alike: who they are, what each is asked, what came back, and which of them is out of line."""
