--- Models that work together must speak of the same tokens.
--
-- A policy writes token ids; reference, reward and value model read them. A model with another
-- tokenizer of the same size reads other words, and nothing fails: its scores are nonsense. So
-- tokenizer and size of the vocabulary of all are compared before the first step, and prompts that
-- one of them cannot read with their answer are left out before it, by the name of that model.

local adapter_folder = require("perilune.model.adapter_folder")
local frozen_base = require("perilune.model.frozen_base")
local lfs = require("lfs")
local mixing = require("perilune.model.mixing")
local model = require("perilune.model")
local tokenizer = require("perilune.model.tokenizer")

local companions = {}

local function loaded(key, path, object, message)
  if object then return object end
  if lfs.attributes(path .. "/model/tokenizer.json") then -- the folder of a run
    message = ("%s is a run's folder, no model: its model is %s/model"):format(path, path)
  end
  local names_it = message:find(path, 1, true) ~= nil
  error(("%s%s: %s"):format(key, names_it and "" or " " .. path, message), 0)
end

--- Load a model that a key of a recipe names; what is wrong with it is an error with that key.
-- @tparam string key of the recipe, for the error
-- @tparam string path of the model
-- @tparam ?LoadOptions opts how it is loaded
-- @treturn Model
function companions.load(key, path, opts) return loaded(key, path, model.load(path, opts)) end

--- Load a language model that a key of a recipe names. Raises, with that key, for what cannot be
-- read and for a reward model.
-- @tparam string key of the recipe, for the error
-- @tparam string path of the model
-- @tparam ?LoadOptions opts how it is loaded
-- @treturn Model
function companions.writer(key, path, opts)
  local found = companions.load(key, path, opts)
  if found.config.scalar_head then
    error(("%s %s is a reward model: it scores answers and writes none"):format(key, path), 0)
  end
  return found
end

--- How to load constant models that work together: what one of them stands on with adapters is held
-- once, and in the type that these were trained on, when another one is just that.
-- @tparam {string,...} paths of them; "" is none
-- @tparam ?table opts `precision` ("float32") of their products
-- @treturn function (path) -> options of `pl.load`
function companions.together(paths, opts)
  local precision = opts and opts.precision
  local held = {} -- the types of bases, by what these are
  for _, path in ipairs(paths) do
    local dtype = path ~= "" and adapter_folder.base_dtype(path)
    local base = dtype and adapter_folder.base_path(path)
    local identity = base and frozen_base.identity(base)
    if identity then held[identity] = dtype end
  end
  return function(path)
    local alone = path == "" or next(held) == nil or adapter_folder.is(path)
    local dtype = not alone and held[frozen_base.identity(path)] or nil
    return { precision = precision, frozen = dtype and true, dtype = dtype }
  end
end

--- Load the tokenizer of a model, or of a folder, that a key of a recipe names.
-- @tparam string key of the recipe, for the error
-- @tparam string path of the model, or of a folder
-- @treturn Tokenizer
function companions.tokenizer(key, path) return loaded(key, path, tokenizer.load(path)) end

--- What the weights of a model are that a key of a recipe names: a hash of its files, whatever they
-- are held in. Raises when they cannot be read.
-- @tparam string key of the recipe, for the error
-- @tparam string path of the model
-- @treturn string
function companions.identity(key, path) return loaded(key, path, adapter_folder.identity(path)) end

local function refuse(text, ...)
  local message = "models that do not fit together: " .. text
  error(message:format(...), 0)
end

local function title(one) return ("%s (%s)"):format(one.name, one.path) end

--- Refuse models that do not fit the first of a list; both are named in what is raised.
-- @tparam {{name=string,path=string,model=Model,scores=?boolean},...} list the first is the one
--   that writes; `name` is the key it was given by, `path` its folder, which holds its tokenizer;
--   `scores`: it is one that gives numbers
function companions.check(list)
  local first = list[1] or refuse("there is none in the list")
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

--- Refuse models whose weights cannot be added, as `model.mix` would; what is raised has their
-- names and paths.
-- @tparam {{name=string,path=string,model=Model},...} list the others are held to the first
function companions.addable(list)
  for i = 2, #list do
    local wrong = mixing.misfit(list[1].model, list[i].model, title(list[1]))
    if wrong then refuse("%s %s: their weights cannot be added", title(list[i]), wrong) end
  end
end

--- The longest prompt that all models of a list can read with an answer behind it. Raises when an
-- answer leaves no place for a prompt.
-- @tparam {{name=string,path=string,model=Model,scores=?boolean},...} list as for
--   `companions.check`
-- @tparam integer wanted tokens of the longest prompt that is asked for
-- @tparam integer behind tokens of the longest answer
-- @treturn integer tokens
-- @treturn ?string when a model allows less than is wanted: "too long for NAME (N tokens with the
--   answer)", which data.prompts counts what it leaves out by
function companions.room(list, wanted, behind)
  local room, reason = wanted, nil
  for _, one in ipairs(list) do
    local context = one.model:context()
    if context and context - behind < 1 then
      local text = "%s reads %d tokens: an answer of %d leaves no place for a prompt; lower "
        .. "response_length"
      error(text:format(title(one), context, behind), 0)
    elseif context and context - behind < room then
      room = context - behind
      reason = ("too long for %s (%d tokens with the answer)"):format(one.name, context)
    end
  end
  return room, reason
end

return companions
