--- Mistral: Llama, whose queries may see a window of last keys alone (Jiang et al.,
-- arXiv:2310.06825).

return {
  class = "Mistral",
  defaults = { norm_eps = 1e-6, hidden_act = "silu", tie_word_embeddings = false },
  windows = function(c) return c.sliding_window ~= nil end,
  gguf = { arch = "llama", pairs = true },
}
