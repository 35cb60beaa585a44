--- The model card: README.md of a saved folder, for those who find the folder alone.
--
-- It tells what the folder says of itself, and what a run knows besides (options.card):
--     base       path of the model training began with
--     license    of the base, where it is known
--     recipe     name; `settings`: {key = value} as text or number
--     data       list of {key =, path =, hash =}
--     figures    {name = number or text}
-- and always what other programs cannot know: the bias of a score, where it is read, the template.

local json = require("perilune.base.json")
local keys_of = require("perilune.base.list").keys

local card = {}

local function sorted_keys(map)
  local names = keys_of(map)
  return names
end

-- A value between backquotes; text of others must not become Markdown of ours.
local function quoted(value)
  local text = type(value) == "table" and json.encode(value) or tostring(value)
  text = text:gsub("[%c]", " "):gsub("`", "'")
  if #text > 300 then text = text:sub(1, 297) .. "..." end
  return text == "" and "(empty)" or "`" .. text .. "`"
end

local function front_matter(config, about)
  local lines = { "---", "tags:", "- perilune" }
  if about.license then lines[#lines + 1] = "license: " .. json.encode(about.license) end
  lines[#lines + 1] = "pipeline_tag: "
    .. (config.scalar_head and "text-classification" or "text-generation")
  lines[#lines + 1] = "---"
  return table.concat(lines, "\n")
end

local function of_list(title, map)
  if not map or next(map) == nil then return nil end
  local lines = { "## " .. title, "" }
  for _, name in ipairs(sorted_keys(map)) do
    lines[#lines + 1] = ("- `%s`: %s"):format(name, quoted(map[name]))
  end
  return table.concat(lines, "\n")
end

local function of_data(list)
  if not list or #list == 0 then return nil end
  local lines = { "## Data", "" }
  for _, one in ipairs(list) do
    lines[#lines + 1] = ("- `%s`: %s, hash `%s`"):format(one.key, quoted(one.path), one.hash)
  end
  return table.concat(lines, "\n")
end

local BIASED <const> = "- **Bias.** The score is what the head gives, less `score_bias` = %.17g of "
  .. "config.json. The classes of transformers and vLLM have no place for it: their scores are "
  .. "higher by this number, the same for all answers; orders and differences are the same."

local BESIDE <const> = "- **Half of a reward.** It was trained beside log-probs: a reward is the "
  .. "score and `score_likelihood_coef` = %g of config.json times the log-prob of the answer by "
  .. "the language model it was trained beside. The score alone knows the rest only."

local PADDED <const> = "- Padding is token %d, which ends no answer: transformers reads the score "
  .. "at the last token that is not the padding."

local NOT_PADDED <const> = "- There is no padding: every control token of the vocabulary may end "
  .. "an answer. transformers takes one conversation at a time."

local READ <const> = "A reward model: one number (`score.weight`) for a conversation, read at the "
  .. "last token of the answer, which is the end token when the answer is finished."

-- How a score is read, which no config of transformers says.
local function of_score(config)
  local bias, pad = config.score_bias or 0, config.pad_token_id
  local beside = config.score_likelihood_coef or 0
  local lines = {
    "## The score\n",
    READ .. "\n",
    bias ~= 0 and BIASED:format(bias) or "- No bias: what the head gives is the score.",
    pad and PADDED:format(pad) or NOT_PADDED,
  }
  if beside > 0 then table.insert(lines, 3, BESIDE:format(beside)) end
  return table.concat(lines, "\n")
end

local function of_text(config, tokenizer)
  local lines = { "## Text", "" }
  local template = tokenizer and tokenizer.template
  if template then
    lines[#lines + 1] = "- Trained with the template "
      .. quoted(template.name or "of its own")
      .. (
        template.name == "none" and ": prompts and answers stand after each other as they are."
        or " (perilune_template.json)."
      )
  elseif tokenizer and tokenizer.chat_template then
    lines[#lines + 1] = "- Conversations are written as the chat template of the tokenizer says."
  end
  lines[#lines + 1] = "- End tokens: " .. quoted(config.eos_token_id or "none")
  return table.concat(lines, "\n")
end

--- The text of README.md.
-- @tparam Model model
-- @tparam table config as it is written
-- @tparam table opts `tokenizer`, `card`: see the head
-- @treturn string
function card.text(model, config, opts)
  local about = opts.card or { license = model.texts and model.texts.license }
  local parts = { front_matter(config, about) }
  local function add(text) parts[#parts + 1] = text end
  local base = about.base or model.path and model.path:match("([^/]+)/*$")
  add("# " .. (config.scalar_head and "Reward model" or "Language model"))
  add(
    ("%s, %d parameters, written by Perilune%s."):format(
      config.architectures[1],
      model:count(),
      about.recipe and " (recipe " .. quoted(about.recipe) .. ")" or ""
    )
  )
  if base then
    add(
      ("Base: %s. Licence of the base: %s."):format(
        quoted(base),
        about.license and quoted(about.license) or "not known here; it holds for this model too"
      )
    )
  end
  add(of_text(config, opts.tokenizer))
  if config.scalar_head then add(of_score(config)) end
  add(of_data(about.data))
  add(of_list("Settings", about.settings))
  add(of_list("Figures", about.figures))
  return table.concat(parts, "\n\n") .. "\n"
end

return card
