"""OpenAI's chat protocol: what a request may say, and what an answer or an error looks like.

What is not obeyed, because the run decides it: `top_p`, `seed`, `stop`, system messages, `tools`
and the like are accepted and change nothing. `temperature` counts where the run samples.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..records import Turn
from .child import Told

LONGEST = 4_000
"""Characters of one message."""


class Part(BaseModel):
    type: Literal["text"]
    text: str = Field(max_length=LONGEST)


class Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Field(max_length=LONGEST)] | list[Part]

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    model_config = ConfigDict(extra="ignore")
    model: str = Field(default="", max_length=200)
    messages: list[Message] = Field(min_length=1, max_length=100)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    def asked(self) -> tuple[str, tuple[Turn, ...]]:
        """The question, and the turns before it. Raises ValueError when the last is no question."""
        said = [m for m in self.messages if m.role in ("user", "assistant")]
        if not said or said[-1].role != "user" or not said[-1].text.strip():
            raise ValueError("The last message must be a question of the user.")
        turns, open_ = [], ""
        for message in said[:-1]:
            if message.role == "user":
                open_ = message.text
            elif open_:
                turns.append((open_, message.text))
                open_ = ""
        return said[-1].text.strip()[:LONGEST], tuple(turns)


class Vote(BaseModel):
    id: str = Field(max_length=80)
    vote: Literal["up", "down"]


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Error(BaseModel):
    """Any refusal, in OpenAI's shape."""

    error: ErrorBody


def error(message: str, type_: str, *, param: str | None = None, code: str | None = None) -> Any:
    body = ErrorBody(message=message, type=type_, param=param, code=code)
    return Error(error=body).model_dump()


def head_of(number: str, name: str, kind: str) -> dict[str, Any]:
    """What every answer, and every part of a stream, begins with."""
    return {"id": number, "object": kind, "created": int(time.time()), "model": name}


def usage_of(told: Told) -> dict[str, int]:
    """What an answer cost, in tokens."""
    asked, made = told.prompt_tokens, told.completion_tokens
    return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}


def about(told: Told) -> dict[str, Any]:
    """What kefu says of an answer beside OpenAI's fields."""
    reply = told.reply
    return {
        "handed_over": reply.handed_over,
        "confidence": reply.confidence,
        "source": reply.source,
        "offered": reply.offered,
    }


def reason(told: Told) -> str:
    """Why an answer ended."""
    return "stop" if told.reply.stopped else "length"
