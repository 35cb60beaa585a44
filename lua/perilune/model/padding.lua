--- Which token pads. Other programs read a reward at the last token that is not the padding, so a
-- padding that may end an answer makes them read one token early: it is never an end token.

local json = require("perilune.base.json")

local padding = {}

-- What ends an answer in somebody's template, even where no config says so.
local ends_by_name = [[
  <|endoftext|> <|im_end|> <|eot_id|> <|end|> <|end_of_text|> <end_of_turn> </s> <eos> <|return|>
  <|eom_id|> <|endofprompt|>
]]

-- What is made for padding, or for nothing: patterns of names, in lower case.
local pads_by_name = { "^<pad>$", "^%W*pad%W*$", "pad", "reserved", "unused" }

local function add(ids, value)
  if math.type(value) == "integer" then ids[value] = true end
  if type(value) == "table" then
    for _, id in ipairs(value) do
      ids[id] = true
    end
  end
end

--- The ids that end an answer.
-- @tparam table config
-- @tparam ?Tokenizer tokenizer
-- @tparam ?table texts as of a model
-- @treturn {[integer]=boolean}
function padding.ends(config, tokenizer, texts)
  local ids = {}
  add(ids, config.eos_token_id)
  local generation = texts and texts.generation and json.decode(texts.generation)
  add(ids, generation and generation.eos_token_id)
  if tokenizer then
    add(ids, tokenizer.eos_id)
    for name in ends_by_name:gmatch("%S+") do
      add(ids, tokenizer:id(name))
    end
  end
  return ids
end

--- The padding: the one there is, when it ends nothing; else a token that is made for it or never
-- ends an answer; nil when there is none.
-- @tparam table config
-- @tparam ?Tokenizer tokenizer
-- @tparam ?table texts as of a model
-- @treturn ?integer id
function padding.choose(config, tokenizer, texts)
  local ends = padding.ends(config, tokenizer, texts)
  local function fits(id)
    return math.type(id) == "integer" and id >= 0 and id < config.vocab_size and not ends[id]
  end
  if fits(config.pad_token_id) then return config.pad_token_id end
  if not tokenizer then return nil end
  if fits(tokenizer.pad_id) then return tokenizer.pad_id end
  for _, pattern in ipairs(pads_by_name) do
    for id = 0, tokenizer.size - 1 do
      local is_one = tokenizer:is_control(id) and tokenizer:token(id):lower():find(pattern)
      if is_one and fits(id) then return id end
    end
  end
  for _, id in ipairs { tokenizer.unk_id or -1, tokenizer.bos_id or -1 } do
    if fits(id) and tokenizer:is_control(id) then return id end
  end
end

return padding
