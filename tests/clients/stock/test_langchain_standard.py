"""LangChain's standard suite for chat models (langchain-tests), with ChatOpenAI in front of the gateway."""

import pytest
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

UNDERSTANDS_NOTHING = "the scripted model does not understand what is said to it"


class TestChatOpenAI(ChatModelIntegrationTests):
    where = None

    @pytest.fixture(autouse=True)
    def _in_front_of_the_gateway(self, rest):
        type(self).where = rest

    @property
    def chat_model_class(self):
        return ChatOpenAI

    @property
    def chat_model_params(self):
        where = self.where
        params = {"model": "gpt", "max_retries": 0, "stream_usage": True}
        return params | ({"base_url": f"{where.url}/v1", "api_key": where.key} if where else {"api_key": "none"})

    @pytest.mark.xfail(reason=UNDERSTANDS_NOTHING)
    def test_tool_calling(self, model):
        super().test_tool_calling(model)

    @pytest.mark.xfail(reason=UNDERSTANDS_NOTHING)
    async def test_tool_calling_async(self, model):
        await super().test_tool_calling_async(model)

    @pytest.mark.xfail(reason=UNDERSTANDS_NOTHING)
    def test_json_mode(self, model):
        super().test_json_mode(model)

    @pytest.mark.xfail(reason=UNDERSTANDS_NOTHING)
    def test_unicode_tool_call_integration(self, model):
        super().test_unicode_tool_call_integration(model)
