"""In place of PyTorch in a guest that scores with NumPy alone: the product sets its threads before it scores."""


def set_num_threads(_: int) -> None:
    """Nothing has threads here."""


def set_num_interop_threads(_: int) -> None:
    """Nothing has threads here."""
