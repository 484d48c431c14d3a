import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "musts(*ids): the rules of docs/PROTOCOL.md that the test is about")
