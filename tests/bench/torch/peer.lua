--- Methods in plain PyTorch: peers that `perilune compare` runs beside the recipes of these names.
--
--     perilune compare rloo torch=tests/bench/torch/rloo.lua --task runs/task --python python3
--
-- A peer takes the keys of its recipe that it knows, so one task gives both the same settings. Data
-- are read and schedules worked out here, and handed over as numbers in request.json; peer.py,
-- which wants torch and transformers, is the algorithm. It leaves checkpoints as any run does.

local pl = require("perilune")
local data, files = pl.data, require("perilune.base.files")

local peer = {}

local SCRIPT <const> = debug.getinfo(1, "S").source:match("^@(.*)peer%.lua$") .. "peer.py"

-- Settings that peer.py knows in one form alone.
local only = {
  dynamic_sampling = 0,
  mask_truncated_completions = false,
  entropy_coef = "0",
  adam_tf_epsilon = false,
  adam_moments = "float32",
}

local function fault(c)
  local known = {}
  for _, key in ipairs(c:keys()) do
    known[key] = true
    local value = c[key]
    if only[key] ~= nil and value ~= only[key] and tostring(value) ~= only[key] then
      return ("the peer in PyTorch has no %s"):format(key)
    end
  end
  if known.kl_placement and c.kl_estimator ~= (c.kl_placement == "loss" and "k3" or "k1") then
    return "the peer in PyTorch has k1 in the reward and k3 in the loss"
  end
end

-- Keys of all peers, around those of one.
local function rows(method, more)
  local list = {
    name = method,
    about = method .. " in plain PyTorch, the peer of the recipe of that name",
    check = fault,
    { model = "", "model folder the policy starts from; also the KL reference", required = true },
    { dataset = "", "what the recipe's key of that name is", required = true },
    { template = "auto", "chat template", choices = { "auto", "none", "plain", "chatml" } },
    { python = "python3", "the Python that has torch and transformers" },
    { torch_threads = 1, "threads of it", min = 1 },
  }
  table.move(more, 1, #more, #list + 1, list)
  list[#list + 1] = pl.config.adam()
  return list
end

-- The values of a schedule at steps 1 to n.
local function values(schedule, n)
  local list = {}
  for i = 1, n do
    list[i] = schedule(i)
  end
  return list
end

-- Runs peer.py on a request and ends the run.
local function finish(run, cfg, method, request)
  request.method, request.output_dir, request.model = method, run.dir, cfg.model
  for _, key in ipairs { "seed", "save_steps", "torch_threads", "max_grad_norm", "weight_decay" } do
    request[key] = cfg[key]
  end
  request.adam = { cfg.adam_beta1, cfg.adam_beta2, cfg.adam_epsilon }
  local path = run.dir .. "/request.json"
  assert(files.write_json(path, request))
  local command = ("'%s' '%s' '%s'"):format(cfg.python, SCRIPT, path)
  local ok, how, code = os.execute(command)
  if not ok then error(("%s ended by %s %s"):format(command, how, code), 0) end
  local model = ("%s/checkpoint-%d"):format(run.dir, request.steps)
  run:summary({ steps = request.steps }, { model = model })
  run:close()
  return { model = model }
end

-- What both kinds read first.
local function opened(cfg)
  local run = pl.run.open(cfg)
  local tok = pl.companions.tokenizer("model", cfg.model)
  return run, tok, data.template(cfg.template, tok)
end

-- The elements of a data set, which reads them when they are asked for; of each a field.
local function listed(set, field)
  local list = {}
  for i = 1, #set do
    list[i] = field and set[i][field] or set[i]
  end
  return list
end

--- A method whose policy learns from its own answers.
-- @tparam string method
-- @tparam {ConfigRow,...} more keys of this one
-- @treturn {model=string}
function peer.online(method, more)
  local shared = {
    { reward_model = "", "model folder with a scalar head", required = true },
    { ptx_dataset = "", "pretraining text" },
    { total_episodes = 8192, "answers in the whole run", min = 1 },
    { batch_size = 128, "answers in one iteration", min = 1 },
    { response_length = 64, "longest answer, tokens", min = 1 },
    { max_prompt_length = 1024, "longer prompts are dropped, tokens", min = 1 },
    { missing_eos_rule = "subtract", "answers without an end", choices = { "none", "subtract" } },
    { missing_eos_penalty = 1.0, "what they lose", min = 0 },
    pl.config.ptx(),
    pl.config.average(),
  }
  local cfg = pl.config(rows(method, table.move(more, 1, #more, #shared + 1, shared)))
  local run, tok, template = opened(cfg)
  local steps = cfg:set_horizon(math.ceil(cfg.total_episodes / cfg.batch_size))
  local prompts = data.prompts(tok, template, cfg.dataset, cfg.max_prompt_length)
  local request = {
    steps = steps,
    stops = data.stop_ids(tok, template),
    prompts = listed(data.required(prompts, "dataset", cfg.dataset), "tokens"),
    text = cfg.ptx_dataset ~= "" and listed(data.text(tok, cfg.ptx_dataset, cfg.ptx_length)) or nil,
  }
  for _, key in ipairs(cfg:keys()) do
    local value = cfg[key]
    if request[key] == nil then
      request[key] = pl.schedule.is(value) and values(value, steps) or value
    end
  end
  return finish(run, cfg, method, request)
end

--- A method that learns from rankings.
-- @tparam string method
-- @tparam {ConfigRow,...} more keys of this one
-- @treturn {model=string}
function peer.offline(method, more)
  local cfg = pl.config(rows(method, {
    { beta = 0.1, "β", over = 0 },
    { num_train_epochs = 1, "passes over the data", min = 1 },
    { batch_size = 32, "sets (dpo) or answers (kto) in a step", min = 1 },
    { max_length = 2048, "of a prompt with its answer, tokens", min = 2 },
    table.unpack(more),
  }))
  local run, tok, template = opened(cfg)
  local items = {}
  if method == "dpo" then
    for _, set in ipairs(data.ranked(tok, template, cfg.dataset, cfg.max_length)) do
      local item = pl.preference.compare(set)
      if #item.pairs > 0 then items[#items + 1] = item end
    end
  else
    for i, one in ipairs(data.labelled(tok, template, cfg.dataset, cfg.max_length)) do
      items[i] = { sequences = { one.sequence }, masks = { one.mask }, liked = one.label }
    end
  end
  if #items == 0 then error(cfg.dataset .. " has nothing to learn from", 0) end
  local steps = cfg:set_horizon(math.ceil(#items / cfg.batch_size) * cfg.num_train_epochs)
  return finish(run, cfg, method, {
    steps = steps,
    items = items,
    beta = cfg.beta,
    batch_size = cfg.batch_size,
    learning_rate = values(cfg.learning_rate, steps),
  })
end

return peer
