--- Tokenizers: text to token ids and back.
--
--     local tok = assert(pl.tokenizer.load("path/to/model"))
--     local ids = tok:encode("Once upon a time", { bos = true })
--     print(tok:decode(ids, { skip_special = true }), #tok)
--
-- Text never becomes a control token by itself: `<|im_end|>` in somebody's message is ten
-- characters of text, unless `encode` is told `special = true`. Ids count from 0.
--
-- Byte-level BPE gives text back byte for byte (after the tokenizer's own normal form, if it has
-- one). SentencePiece models put a space before the text, which `decode` takes away behind the
-- beginning token alone: the ids of an answer keep the space that separates it from its prompt.
-- Word tokenizers join words by single spaces, WordPiece all pieces but those inside a word.
--
-- What a vocabulary cannot say becomes its unknown token, or is left out when its model names none.

local adapter_folder = require("perilune.model.adapter_folder")
local core = require("perilune.core")
local files = require("perilune.base.files")
local gguf = require("perilune.model.gguf")
local lfs = require("lfs")
local single_file = require("perilune.model.single_file")

local tokenizer = {}

local TEMPLATE <const> = "perilune_template.json"
local FURTHER <const> = "additional_chat_templates"
local GENERATION <const> = "generation_config.json"

--- A tokenizer.
-- @class Tokenizer
-- @field string kind "bytelevel" (BPE over bytes), "sentencepiece" (BPE over characters),
--   "unigram", "wordpiece" or "word"
-- @field integer size the number of ids
-- @field ?integer bos_id of the beginning token, from 0; nil: it has none
-- @field ?integer eos_id of the end token, from 0; nil: it has none
-- @field {integer,...} end_ids every token that ends an answer: eos_id, then what the folder's
--   generation_config.json or the GGUF file name beside it
-- @field ?integer pad_id of the padding token, from 0; nil: it has none
-- @field ?integer unk_id of the unknown token, from 0; nil: it has none
-- @field boolean adds_bos whether its own post-processor would add the beginning token; it is never
--   run
-- @field boolean adds_eos the same of the end token
-- @field ?string chat_template Jinja text
-- @field ?{[string]=string} chat_templates further ones by name
-- @field ?{[string]=any} template how the model writes conversations, as `pl.chat.description` has
--   it
-- @field ?string word_cuts what llama.cpp calls its word cuts, of one from a GGUF file
-- @field userdata core the engine's handle
local Tokenizer = {}
Tokenizer.__index = Tokenizer

local function wrap(handle)
  local self = handle:info()
  self.core = handle
  self.end_ids = { self.eos_id }
  return setmetatable(self, Tokenizer)
end

local function add_end(self, id)
  for _, other in ipairs(self.end_ids) do
    if other == id then return end
  end
  self.end_ids[#self.end_ids + 1] = id
end

-- The ends a folder's generation_config.json names; those the vocabulary does not have are of
-- another model's and count for nothing.
local function read_ends(self, folder)
  local path = folder .. "/" .. GENERATION
  local text = files.read(path)
  if not text then return true end
  local config, message = core.json.decode(text)
  if type(config) ~= "table" then
    return nil, ("%s: %s"):format(path, message or "not a JSON object")
  end
  local ends = config.eos_token_id
  if ends == nil then return true end
  if type(ends) ~= "table" then ends = { ends } end
  for _, id in ipairs(ends) do
    if math.type(id) ~= "integer" then
      return nil, ("%s: 'eos_token_id' holds %s, which is no token id"):format(path, tostring(id))
    end
    if self:token(id) then add_end(self, id) end
  end
  return true
end

-- Keeps what else the file says.
local function write_ends(self, folder)
  if #self.end_ids < 2 then return true end
  local path = folder .. "/" .. GENERATION
  local text = files.read(path)
  local config = text and core.json.decode(text)
  if type(config) ~= "table" then config = {} end
  config.eos_token_id = self.end_ids
  return files.write_json(path, config)
end

--- The number of ids: the highest id + 1.
function Tokenizer:__len() return self.size end

function Tokenizer:__tostring()
  local text = "tokenizer (%s, %d tokens)"
  return text:format(self.kind, self.size)
end

--- The ids of a text.
-- @tparam string text any bytes; raises for one that is no text
-- @tparam ?table opts `special` (false) control tokens spelled in the text become their ids; `bos`
--   (false) and `eos` (false) put the beginning or end token there, unless the text has it already;
--   `continued` (false) the text follows another, so no space is put before it; `guarded` (none) a
--   list {first, last, first, last, ...} of bytes as in string.sub, stretches where `special` looks
--   for no control token; `spans` (false) gives the bytes that each id stands for too
-- @treturn {integer,...} ids, from 0
-- @treturn ?{integer,...} with `spans`, {first, last, first, last, ...} of bytes as in string.sub;
--   last is first - 1 for an id that stands for none; else nil
function Tokenizer:encode(text, opts) return self.core:encode(text, opts) end

--- The text of ids; an id without a token is U+FFFD.
-- @tparam {integer,...}|Tensor ids a list, or an int32 tensor [T]; raises for a negative id
-- @tparam ?table opts `skip_special` (false) leaves special tokens out
-- @treturn string
function Tokenizer:decode(ids, opts) return self.core:decode(ids, opts) end

--- For printing while tokens arrive: `push(id)` gives the text that is complete now, and holds back
-- the bytes of an unfinished character; `finish()` gives what is held.
-- @tparam ?table opts `skip_special` (false) leaves special tokens out
-- @treturn userdata stream
function Tokenizer:stream(opts) return self.core:stream(opts) end

--- The id of a token, by its name in the vocabulary or the text it stands for.
-- @tparam string text such as "<|im_end|>" or " the"
-- @treturn ?integer from 0; nil when no token is called or spelled so
function Tokenizer:id(text) return self.core:id(text) end

--- The name of a token in the vocabulary ("Ġthe", "▁the", "<|im_end|>").
-- @tparam integer id from 0
-- @treturn ?string nil when there is no such token
function Tokenizer:token(id) return self.core:token(id) end

--- The bytes a token stands for (" the"): perhaps a part of a character.
-- @tparam integer id from 0
-- @treturn ?string nil when there is no such token
function Tokenizer:bytes(id) return self.core:bytes(id) end

--- Whether no ordinary text can give this id.
-- @tparam integer id from 0
-- @treturn boolean
function Tokenizer:is_control(id) return self.core:is_control(id) end

local function role_id(self, name)
  if name == nil then return nil end
  local id = self.core:id(name)
  if not id then error(("set_special: no token '%s' in the vocabulary"):format(name), 3) end
  return id
end

--- Names the beginning, end and padding tokens; what is not given stays. Raises when the vocabulary
-- has no such token.
-- @tparam table names `bos`, `eos`, `pad`: names of tokens
function Tokenizer:set_special(names)
  for key in pairs(names) do
    if key ~= "bos" and key ~= "eos" and key ~= "pad" then
      error(("set_special: unknown name '%s'; there are bos, eos and pad"):format(key), 2)
    end
  end
  local bos = role_id(self, names.bos) or self.bos_id
  local eos = role_id(self, names.eos) or self.eos_id
  local pad = role_id(self, names.pad) or self.pad_id
  self.core:set_special(bos, eos, pad)
  self.hash = nil
  local others = self.end_ids
  self.end_ids = { eos }
  for _, id in ipairs(others) do
    if id ~= self.eos_id then add_end(self, id) end
  end
  self.bos_id, self.eos_id, self.pad_id = bos, eos, pad
end

-- Named templates as files; beside them transformers wants the default one as a file too.
local function save_named(self, folder)
  local further = folder .. "/" .. FURTHER
  local done, message = files.folder_make(further)
  for name, text in pairs(self.chat_templates) do
    if done then
      done, message = files.write_atomic(further .. "/" .. name .. ".jinja", text)
    end
  end
  if done and self.chat_template then
    done, message = files.write_atomic(folder .. "/chat_template.jinja", self.chat_template)
  end
  return done, message
end

--- Writes tokenizer.json and tokenizer_config.json into an existing folder; transformers opens it.
-- The template goes into perilune_template.json, more ends than one into generation_config.json.
-- @tparam string folder that exists
-- @tparam ?table opts `chat_template` (this tokenizer's) Jinja text; `pad_id` (this tokenizer's) id
--   of the padding to name, false for none
-- @treturn ?boolean true
-- @treturn ?string message
function Tokenizer:save(folder, opts)
  local chat_template = opts and opts.chat_template or self.chat_template
  if chat_template == self.core:info().chat_template then
    chat_template = nil -- the engine writes its own back in the form it had
  end
  local pad = self.pad_id
  if opts and opts.pad_id ~= nil then pad = opts.pad_id or nil end
  self.core:set_special(self.bos_id, self.eos_id, pad)
  local saved, message = self.core:save(folder, chat_template)
  self.core:set_special(self.bos_id, self.eos_id, self.pad_id)
  if saved and self.chat_templates then
    saved, message = save_named(self, folder)
  end
  if saved then
    saved, message = write_ends(self, folder)
  end
  if saved and self.template then
    return files.write_json(folder .. "/" .. TEMPLATE, self.template)
  end
  return saved, message
end

--- A hash of all that decides which ids a text gets, for caches.
-- @treturn string
function Tokenizer:fingerprint()
  if not self.hash then
    self.hash = ("%s-%s-%s-%s"):format(self.core:hash(), self.bos_id, self.eos_id, self.adds_bos)
  end
  return self.hash
end

--- The tokenizer inside a GGUF file.
-- @tparam table metadata what the file holds by key: `tokenizer.ggml.model`, `.pre`, `.tokens`,
--   `.scores`, `.token_type`, `.merges`, `.bos_token_id` and so on, `tokenizer.chat_template`
-- @tparam string path names the file in messages
-- @treturn ?Tokenizer
-- @treturn ?string message
function tokenizer.from_gguf(metadata, path)
  local function get(key) return metadata["tokenizer.ggml." .. key] end
  if type(get("model")) ~= "string" or type(get("tokens")) ~= "table" then
    return nil, path .. ": no tokenizer in it (tokenizer.ggml.model and .tokens)"
  end
  local sentencepiece = get("model") == "llama"
  local handle, message = core.tokenizer.from_pieces {
    where = path,
    model = get("model"),
    pre = get("pre"),
    pieces = get("tokens"),
    scores = sentencepiece and get("scores") or nil,
    types = get("token_type"),
    merges = not sentencepiece and get("merges") or nil,
    bos = get("bos_token_id") or (sentencepiece and 1 or nil),
    eos = get("eos_token_id") or (sentencepiece and 2 or nil),
    pad = get("padding_token_id"),
    unk = get("unknown_token_id") or (sentencepiece and 0 or nil),
    add_bos = get("add_bos_token"),
    add_eos = get("add_eos_token"),
    add_space_prefix = get("add_space_prefix"),
    chat_template = metadata["tokenizer.chat_template"],
  }
  if not handle then return nil, message end
  local self = wrap(handle)
  self.word_cuts = not sentencepiece and get("pre") or nil
  for _, key in ipairs { "eot_token_id", "eom_token_id" } do
    if get(key) and self:token(get(key)) then add_end(self, get(key)) end
  end
  return self
end

local function of_gguf(path)
  local file <close>, message = files.gguf.open(path)
  if not file then return nil, message end
  local entries
  entries, message = gguf.tokenizer_entries(file)
  if not entries then return nil, ("%s: %s"):format(path, message) end
  return tokenizer.from_gguf(entries, path)
end

-- The further templates of a folder, by name: those of a list in tokenizer_config.json, and files.
local function named_templates(folder)
  local named = {}
  local config = files.read_json(folder .. "/tokenizer_config.json")
  local list = type(config) == "table" and config.chat_template
  for _, item in ipairs(type(list) == "table" and list or {}) do
    local name, text = item.name, item.template
    local is_plain = type(name) == "string" and name:find("^[%w_-]+$") and name ~= "default"
    if is_plain and type(text) == "string" then named[name] = text end
  end
  local further = folder .. "/" .. FURTHER
  if lfs.attributes(further, "mode") == "directory" then
    for file in lfs.dir(further) do
      local name = file:match("^([%w_-]+)%.jinja$")
      if name then named[name] = files.read(further .. "/" .. file) end
    end
  end
  return next(named) and named or nil
end

-- Whether a folder has a tokenizer of its own: adapters without one have that of their base, and a
-- folder of a GGUF file has the one in it.
local function files_of_own(path)
  for _, name in ipairs { "tokenizer.json", "tokenizer.model", "vocab.json", "encoder.json" } do
    if lfs.attributes(path .. "/" .. name) then return true end
  end
  return false
end

--- Loads a tokenizer.
-- @tparam string path a model folder, a tokenizer.json, SentencePiece's tokenizer.model, GPT-2's
--   vocab.json or encoder.json (beside its merges.txt or vocab.bpe), a llama2.c tokenizer (.bin), a
--   GGUF file or its folder, or a folder of adapters: its own, or its base's
-- @treturn ?Tokenizer
-- @treturn ?string message
function tokenizer.load(path)
  local blocks = not files_of_own(path) and single_file.find(path, "%.gguf$")
  if blocks or path:match("%.gguf$") then return of_gguf(blocks or path) end
  if adapter_folder.is(path) and not files_of_own(path) then
    local base, wrong = adapter_folder.base_path(path)
    if not base then return nil, wrong end
    return tokenizer.load(base)
  end
  local sound, damage = files.folder_sound(path)
  if not sound then return nil, damage end
  local handle, message = core.tokenizer.load(path)
  if not handle then return nil, message end
  local self = wrap(handle)
  self.chat_templates = named_templates(path)
  local read
  read, message = read_ends(self, path)
  if not read then return nil, message end
  local text = files.read(path .. "/" .. TEMPLATE)
  if text then
    self.template, message = core.json.decode(text)
    if type(self.template) ~= "table" then
      return nil, ("%s/%s: %s"):format(path, TEMPLATE, message or "not a JSON object")
    end
  end
  return self
end

--- Learns a vocabulary. The outcome depends on the texts and options alone. Raises when an option
-- is missing or unknown.
-- @tparam table opts `texts` (required) list of strings; `vocab_size` (required) ids there are at
--   most, at least 1; `kind` ("bytelevel") BPE over bytes with GPT-2's word cuts, or "word": the
--   most frequent words between white space; `special` (none) list of control tokens: they get the
--   first ids; `bos`, `eos`, `pad` and `unk` (none) each one of `special`; `min_frequency` (2 for
--   BPE, 1 for words) how often a pair or a word must stand there
-- @treturn Tokenizer perhaps with fewer tokens than asked, when the texts hold no more
function tokenizer.train(opts) return wrap(core.tokenizer.train(opts)) end

return tokenizer
