"""Silences transformers."""


def quiet_transformers() -> None:
    """Turn off ``transformers``' progress bars and messages below errors, from now on in this process."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
