"""The first signal asks, the second one acts, and the old handlers come back."""

import os
import signal

import pytest

from crnn_jax.ending import SIGNALS
from crnn_jax.train.stop import StopRequested, StopSignal


@pytest.fixture
def interrupts_raise():
    """As in a shell's foreground: a job in its background starts with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_first_signal_is_a_request():
    with StopSignal() as stop:
        assert stop.requested is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested == signal.SIGTERM


def test_second_interrupt_acts(interrupts_raise):
    before = signal.getsignal(signal.SIGINT)
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_wait_for_data_ends_with_the_signal(number):
    with StopSignal() as stop:
        with pytest.raises(StopRequested), stop.interruptible():
            signal.raise_signal(number)
        assert stop.requested == number


def test_an_error_is_the_signals_only_after_one():
    with StopSignal() as stop:
        with pytest.raises(KeyError), stop.interruptible():
            raise KeyError
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopRequested), stop.interruptible():
            raise KeyError


def test_a_closed_terminal_does_not_stop_what_ignores_it():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.requested is None
    signal.signal(signal.SIGHUP, before)
