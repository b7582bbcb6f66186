"""What openai-python does with the server, whatever its version."""

from tests.clients.openai_python import content, endings, kills, modes
from tests.clients.openai_python.harness import SCENARIOS

__all__ = ["SCENARIOS", "content", "endings", "kills", "modes"]
