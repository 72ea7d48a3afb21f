package dev.tollgate.client

import dev.tollgate.client.errors.ModelNotFoundException
import dev.tollgate.v1.CompletionRequest
import io.grpc.Channel

/** What a program in Kotlin writes. JSpecify's annotations are errors there: `String` is never null, `model()` of an error may be. */
object KotlinProgram {
    fun ask(channel: Channel): String =
        Client.builder().key("tg-kotlin").over(channel).use { client ->
            val request =
                CompletionRequest.newBuilder()
                    .setModel("demo")
                    .addMessages(Messages.user("Say hello"))
                    .build()
            val streamed: String =
                client.stream(request).use { stream ->
                    stream.asSequence().filter { it.hasDelta() }.joinToString("") { it.delta.text }
                }
            val whole: String = client.complete(request).text()
            check(whole == streamed) { "$whole is not $streamed" }
            whole
        }

    fun missing(channel: Channel): String =
        Client.builder().key("tg-kotlin").over(channel).use { client ->
            try {
                client.complete("missing", "Say hello").text()
            } catch (e: ModelNotFoundException) {
                // Without `?:` this does not compile.
                e.model() ?: "a model"
            }
        }
}
