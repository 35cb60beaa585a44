--- Models that work together must speak of the same tokens.
--
-- A policy writes token ids; reference, reward and value model read them. A model with another
-- tokenizer of the same size reads other words, and nothing fails: its scores are nonsense. So
-- tokenizer, size of the vocabulary and context of all are compared before the first step.

local tokenizer = require("perilune.model.tokenizer")

local companions = {}

local function refuse(text, ...)
  local message = "models that do not fit together: " .. text
  error(message:format(...), 0)
end

local function title(one) return ("%s (%s)"):format(one.name, one.path) end

--- Refuse models that do not fit the first of a list; both are named.
-- @tparam {{name=string,path=string,model=Model,scores=?boolean},...} list the first is the one
-- that writes; `name` is the key it was given by, `path` its folder, which holds its tokenizer;
-- `scores`: it is one that gives numbers
-- @tparam ?integer longest tokens of the longest prompt and answer together
function companions.check(list, longest)
  local first = list[1]
  local own = assert(tokenizer.load(first.path))
  for i, one in ipairs(list) do
    if one.scores and not one.model.config.scalar_head then
      refuse(
        "%s has no scalar head and scores nothing; recipes/reward.lua makes one that does",
        title(one)
      )
    elseif one.model.config.scalar_head and not one.scores then
      refuse("%s is a reward model: it scores answers and writes none", title(one))
    end
    local context = one.model:context()
    if longest and context and longest > context then
      refuse(
        "%s reads %d tokens, a prompt and its answer may have %d; lower max_prompt_length or "
          .. "response_length",
        title(one),
        context,
        longest
      )
    end
    if i > 1 then
      local size, wanted = one.model.config.vocab_size, first.model.config.vocab_size
      if size ~= wanted then
        refuse("%s has a vocabulary of %d tokens, %s of %d", title(one), size, title(first), wanted)
      end
      local other, message = tokenizer.load(one.path)
      if not other then
        refuse(
          "the tokenizer of %s cannot be read (%s), so it cannot be compared with that of %s",
          title(one),
          message,
          title(first)
        )
      elseif other:fingerprint() ~= own:fingerprint() then
        refuse(
          "%s has another tokenizer than %s: the same ids are other words there; train it "
            .. "from the same base",
          title(one),
          title(first)
        )
      end
    end
  end
end

return companions
