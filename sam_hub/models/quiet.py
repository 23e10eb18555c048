"""transformers without its chatter."""


def quiet_transformers() -> None:
    """No messages below an error and no progress bars of ``transformers``, from now on in this process."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
