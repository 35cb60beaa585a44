--- A run folder: everything a run leaves behind, and what it needs to go on after a crash.
--
--     output_dir/
--       recipe.lua config.json env.json     what was run, with which keys, where
--       metrics.jsonl samples.jsonl         one row a log step, one row an example
--       journal.jsonl alarms.jsonl          live changes of hyper-parameters; alarms that rang
--       status.json control.sock            what it does now; where it can be talked to
--       runs/<time>_<host>/events...        the same metrics for TensorBoard
--       checkpoint-N/                       a model folder, and trainer_state.json
--       best.json summary.json              the best checkpoint so far; the final figures
--
-- A folder belongs to one process at a time: `open` takes a lock that the kernel drops when the
-- process ends, however it ends. Resuming cuts every log but the journal back to the step of the
-- checkpoint, and makes the journal's later changes again at their steps, so that a killed and
-- resumed run leaves the rows of one that was never killed. The cut happens when the run goes on
-- (`restore`, or the first row that is written): a resume that is refused leaves the folder as it
-- was.
--
-- What a checkpoint holds is described by the recipe's `parts` (perilune.run.state): `save` writes
-- them, `restore` reads them back. `checkpoint`, below them, hands a temporary folder to a function
-- and makes it appear under its name when that returns.
--
-- May use: base, config, model, data, learn.

local beginning = require("perilune.run.beginning")
local book = require("perilune.run.book")
local checked = require("perilune.base.options")
local checkpoints = require("perilune.run.checkpoints")
local config = require("perilune.config")
local control = require("perilune.run.control")
local core = require("perilune.core")
local detached = require("perilune.run.detached")
local edits = require("perilune.run.edits")
local ending = require("perilune.run.ending")
local files = require("perilune.base.files")
local format = require("perilune.base.format")
local unclosed = require("perilune.base.unclosed")
local host = require("perilune.host")
local leftover = require("perilune.run.leftover")
local live = require("perilune.run.live")
local lock = require("perilune.run.lock")
local log = require("perilune.run.log")
local lfs = require("lfs")
local profile = require("perilune.base.profile")
local state = require("perilune.run.state")
local stopping = require("perilune.run.stopping")
local system = core.system

local run = {}

--- The rows of a file of one JSON object a line: see perilune.run.log.
run.read_rows = log.read

--- An open run folder.
-- @class Run
-- @field string dir the folder
-- @field Config cfg
-- @field ?table resumed {step =, path =, state =} of the checkpoint that the run goes on from; nil:
--   it begins
-- @field {{[string]=any},...} history the rows of metrics.jsonl
local Run = {}
Run.__index = Run
Run.__name = "run"

--- The checkpoints in a run folder, oldest first; none when there is no such folder.
-- @tparam string folder of the run
-- @treturn {{step=integer,path=string},...}
run.checkpoints = checkpoints.list

--- The newest checkpoint in a run folder.
-- @tparam string folder of the run
-- @treturn ?{step=integer,path=string} nil when there is none
run.latest = checkpoints.latest

local function exists(path) return lfs.attributes(path, "mode") ~= nil end

local function write_json(path, value)
  local ok, message = files.write_json(path, value, { finite = true })
  if not ok then error(message, 3) end
end

local function copy(t)
  local made = {}
  for key, value in pairs(t or {}) do
    made[key] = value
  end
  return made
end

-- What a checkpoint says of the run, with the best measurement up to it.
local function take_up(self, checkpoint)
  local saved, unreadable = files.read_json(checkpoint.path .. "/trainer_state.json")
  if type(saved) ~= "table" or type(saved.perilune) ~= "table" then
    local text = "%s/trainer_state.json cannot be read: %s"
    error(text:format(checkpoint.path, unreadable or "it is of another program"), 0)
  end
  self.resumed = { step = checkpoint.step, path = checkpoint.path, state = saved.perilune.state }
  local path = self.dir .. "/best.json"
  local best = exists(path) and assert(files.read_json(path))
  self.best = best and best.step <= checkpoint.step and best or nil
  return saved.perilune
end

-- Where the recipe is a file, its hash, and a watch for changes of it.
local function watch_recipe(self, cfg)
  local recipe = config.describe(cfg).recipe
  if recipe and lfs.attributes(recipe, "mode") == "file" then
    self.recipe_hash = edits.code_hash(recipe, cfg)
    self.edits = edits.watch(recipe, cfg)
  end
end

-- The rows of metrics up to the checkpoint, and the clock where they end.
local function take_history(self)
  self.history = assert(log.kept(self.dir .. "/metrics.jsonl", self.done))
  local last = self.history[#self.history]
  local taken = last and type(last.time) == "number" and last.time or 0
  self.clock_start = system.monotonic() - taken
end

-- Everything that may fail once the folder is locked.
local function begin(self, cfg)
  checkpoints.clean_up(self.dir)
  local checkpoint, wrong = checkpoints.find(cfg, self.dir)
  if checkpoint == false then error(wrong, 0) end
  beginning.make_room(self.dir, cfg)
  watch_recipe(self, cfg)
  local saved = checkpoint and take_up(self, checkpoint)
  self.done = checkpoint and checkpoint.step or -1
  live.take_up(self, self.done, cfg.replay_of ~= "" and cfg.replay_of or nil)
  cfg:on_change(function(entry) live.on_change(self, entry) end)
  if saved then
    cfg:load_state(saved.config, checkpoint.path)
    beginning.compare_arithmetic(self, saved.arithmetic)
  end
  if cfg.threads > 0 then core.threads(cfg.threads) end
  core.nan_check(cfg.nan_check)
  if cfg.profile then profile.begin() end
  take_history(self)
  if not self.resumed then beginning.begin(self) end
  detached.begin(self.dir)
  stopping.leave_words()
end

--- Open the run folder `cfg.output_dir`. Raises when it cannot be made, belongs to another process,
-- or holds a run that is neither resumed nor to be overwritten.
--
-- With `cfg.resume` the config takes up the state of the checkpoint, and `self.resumed` is {step,
-- path, state}: the recipe loads its model from there. When there is no checkpoint yet the run
-- starts at the beginning and `resumed` is nil.
-- @tparam Config cfg
-- @tparam ?table options `environment` (none): {name = value}, what env.json should tell besides
--   the obvious (versions, threads, BLAS)
-- @treturn Run with the fields `dir`, `resumed`, `history` (the rows of metrics.jsonl)
function run.open(cfg, options)
  options = checked.take("run.open", options, checked.any_of { "environment" })
  if #cfg.resume_changed > 0 and not cfg.resume then
    error("resume_changed says what may differ from a checkpoint: give --resume too", 0)
  end
  local folder = cfg.output_dir:gsub("(.)/+$", "%1")
  local before = leftover.before(folder)
  local made, message = files.folder_make(folder)
  if not made then error(("output_dir %s cannot be made: %s"):format(folder, message), 0) end
  local mark = unclosed.mark()
  local held, owner = lock.take(folder)
  if not held then
    local text = "%s is in use by %s; wait for it, or give another --output_dir"
    error(text:format(folder, owner), 0)
  end
  local self = setmetatable({
    dir = folder,
    cfg = cfg,
    lock = held,
    before = before,
    best = nil,
    environment = options.environment,
    entries = {}, -- of the journal
    unwritten = {}, -- of these, made before the logs are open
    markers = {}, -- changes that no row of metrics shows yet
  }, Run)
  unclosed.add(self)
  local ok, err = pcall(begin, self, cfg)
  if not ok then
    unclosed.release(mark)
    error(err, 0)
  end
  return self
end

--- Whether this step's metrics are to be written.
-- @tparam integer step from 1
-- @treturn boolean
function Run:should_log(step) return step % self.cfg.logging_steps == 0 end

--- Whether a checkpoint is due after this step: by `save_steps`, or because Ctrl-C or SIGTERM asks
-- the run to stop, which it does when that checkpoint is written.
-- @tparam integer step from 1
-- @treturn boolean
function Run:should_save(step)
  if self.graceful and host.stopping() then return true end
  local every = self.cfg.save_steps
  return every > 0 and step % every == 0
end

--- The book of a loop: its progress line, alarms, the end of a step and of the run.
-- @tparam RunParts parts of the recipe
-- @tparam {[string]=any} recipe_state as `Run:restore` gave it
-- @tparam table options `total` (required) steps of the loop; `done` (0) of them before; `unit`
--   ("step") what one is called; `smooth` (none) names of figures that are shown as running means
-- @treturn Book
function Run:book(parts, recipe_state, options)
  return (book.open(self, parts, recipe_state, options))
end

--- Write a row of metrics to metrics.jsonl and TensorBoard. The row gets `step` and `time`, the
-- seconds the run has taken so far, resumed ones counted. Raises for a metric that is a tensor or a
-- table.
-- @tparam integer step from 1
-- @tparam {[string]=number|string|boolean} metrics by name, "objective/kl" say: names before a
--   slash are groups in TensorBoard
function Run:log(step, metrics)
  local row = {}
  for name, value in pairs(metrics) do
    local kind = type(value)
    if kind ~= "number" and kind ~= "string" and kind ~= "boolean" then
      local text = "metric '%s' is a %s; log a number, a text or a boolean (tensors: t:item())"
      error(text:format(tostring(name), kind), 2)
    end
    row[name] = value
  end
  beginning.begin(self)
  row.step = step
  row.time = row.time or self:seconds()
  if #self.markers > 0 then
    row.changed = table.concat(self.markers, "; ")
    self.markers = {}
    self.events:text(step, "changed", row.changed)
  end
  self.logged = true
  self.metrics:append(row)
  self.history[#self.history + 1] = row
  local shown = {}
  for name, value in pairs(row) do
    if name ~= "step" and name ~= "time" then shown[name] = value end
  end
  self.events:scalars(step, shown)
  if self.control then self.control:tell { event = "step", step = step, row = row } end
end

--- Write an example to samples.jsonl: prompt, answer, score, whatever the recipe has. The first
-- example of each step also goes to TensorBoard as a text. Raises when it cannot be written.
-- @tparam integer step from 1
-- @tparam {[string]=any} sample as JSON can hold it
function Run:sample(step, sample)
  beginning.begin(self)
  local row = copy(sample)
  row.step = step
  self.samples:append(row)
  if self.last_sample_step ~= step then
    self.last_sample_step = step
    local parts = {}
    for key, value in pairs(sample) do
      if type(value) == "string" or type(value) == "number" then
        parts[#parts + 1] = ("**%s** %s"):format(key, tostring(value))
      end
    end
    table.sort(parts)
    self.events:text(step, "samples", table.concat(parts, "\n\n"))
  end
end

--- Write an alarm that rang to alarms.jsonl. Raises when it cannot be written.
-- @tparam integer step from 1
-- @tparam string alarm its name in `health.alarms`
-- @tparam string text the sentence
function Run:alarm(step, alarm, text)
  beginning.begin(self)
  self.alarms:append { step = step, alarm = alarm, text = text }
end

--- Seconds the run has taken, those before a resumed checkpoint included.
-- @treturn number seconds
function Run:seconds() return system.monotonic() - self.clock_start end

--- The checkpoints of this run, oldest first.
-- @treturn {{step=integer,path=string},...}
function Run:checkpoints() return run.checkpoints(self.dir) end

--- Write checkpoint-N so that it is there whole or not at all, and delete old ones. Raises when it
-- cannot be written.
-- @tparam integer step the one that is done, from 1
-- @tparam function write writes the model and whatever else into the folder it is given
-- @tparam ?table options `state` (none): what the recipe needs to go on (JSON-able: cursors,
--   counters); `metric` (none): a figure; `best` (false): it is the best so far
-- @treturn string the checkpoint's path
function Run:checkpoint(step, write, options)
  options = checked.take("run:checkpoint", options, checked.any_of { "state", "metric", "best" })
  beginning.begin(self)
  local path, best = checkpoints.write(self, self.dir, step, write, options)
  if options.best then
    write_json(self.dir .. "/best.json", best)
    self.best = best
  end
  checkpoints.rotate(self, self.cfg.save_total_limit)
  if self.graceful then stopping.stop_if_asked(self, path) end
  return path
end

-- The parts, with the recipe's own text among what decides the result.
local function with_recipe(self, parts)
  local all, made_with = copy(parts), copy(parts.made_with)
  made_with.recipe = self.recipe_hash
  all.made_with = made_with
  return all
end

--- Write checkpoint-N of a recipe's parts.
-- @tparam integer step the one that is done, from 1
-- @tparam RunParts parts of the recipe
-- @tparam {[string]=any} recipe_state what the recipe needs to go on (JSON-able: cursors, counters)
-- @tparam ?table options `metric` (none): a figure; `best` (false): it is the best so far
-- @treturn string the checkpoint's path
function Run:save(step, parts, recipe_state, options)
  options = checked.take("run:save", options, checked.any_of { "metric", "best" })
  return self:checkpoint(
    step,
    function(dir) state.write(dir, with_recipe(self, parts)) end,
    { state = recipe_state, metric = options.metric, best = options.best }
  )
end

-- The parts of the recipe, which an attached session may ask to be kept.
local function parts_of(self)
  if self.parts then return self.parts end
  error("this recipe gives its parts to no run:restore, so no checkpoint can be asked for", 0)
end

--- Write the checkpoint of the last step that is done, between two steps. Raises when the recipe
-- gave no parts to `Run:restore`.
-- @tparam integer done number of the last step that is done, from 1
-- @treturn string its path
function Run:save_here(done) return self:save(done, parts_of(self), self.recipe_state) end

--- Begin a new run beside this one, with a checkpoint of the last step that is done. Raises when
-- the recipe gave no parts to `Run:restore`.
-- @tparam integer done number of the last step that is done, from 1
-- @tparam string name of its folder
-- @treturn string the folder
-- @treturn string the command that goes on with it
function Run:branch(done, name)
  local parts = parts_of(self)
  beginning.begin(self)
  return live.branch(self, name, function(folder)
    local function write(dir) state.write(dir, with_recipe(self, parts)) end
    checkpoints.write(self, folder, done, write, { state = self.recipe_state })
  end)
end

--- The journal so far: changes of keys, evals of attached sessions.
-- @treturn {{[string]=any},...} a copy: entries with `step`, what was changed, and, where somebody
--   made it, `by` and `time` (Unix seconds)
function Run:journal() return table.move(self.entries, 1, #self.entries, 1, {}) end

--- Note something in the journal. Raises when it cannot be written.
-- @tparam table entry with its `step`, from 1, and whatever else it tells
function Run:note(entry)
  beginning.begin(self)
  live.note(self, entry)
end

--- Take up the parts of the checkpoint that the run goes on from. What decides the result beside
-- them, `parts.data` and `parts.made_with`, must have the content it had, or be named by
-- `resume_changed`: then the change is journalled. From here on the first Ctrl-C or SIGTERM lets
-- the step end and a checkpoint be written. All other differences raise, by name.
-- @tparam RunParts parts objects that were made as those of the checkpoint
-- @tparam {[string]=any} fresh the recipe's state of a run that starts afresh
-- @treturn {[string]=any} the recipe's state: as saved, or `fresh`
function Run:restore(parts, fresh)
  stopping.stop_if_asked(self) -- a signal that came between two stages
  self.graceful, self.data = true, parts.data
  host.words(nil)
  host.graceful(true)
  self.parts, self.recipe_state = parts, self.resumed and self.resumed.state or fresh
  if not self.resumed then
    self.began_with = parts.model:hash()
    return fresh
  end
  local now, allowed = with_recipe(self, parts), self.cfg:changes_allowed()
  local changes = state.compare(self.resumed.path, now, allowed)
  state.read(self.resumed.path, parts)
  beginning.begin(self)
  for _, change in ipairs(changes) do
    change.step, change.by, change.content = self.resumed.step, "resume", true
    live.note(self, change)
  end
  return self.resumed.state
end

--- Write summary.json, the final figures; `seconds` and `steps` are added when they are missing,
-- and `memory`, in bytes: `tensors` that live now, `tensors_peak`, `held_peak` (with freed ones
-- that wait to be used again), and `peak` of the whole program. A resumed run that was finished
-- before keeps the summary it has. Unless the run is quiet a short table of them is printed. Raises
-- when it cannot be written.
-- @tparam {[string]=any} figures by name, as JSON can hold them
-- @tparam ?table finish `model`: path of the model that is the result; `next`: a command that a
--   user is likely to give next, as a text or as its words
-- @treturn {[string]=any} the summary as it was written
function Run:summary(figures, finish)
  finish = checked.take("run:summary", finish, checked.any_of { "model", "next" })
  beginning.begin(self)
  local path = self.dir .. "/summary.json"
  local summary = self.resumed and not self.logged and exists(path) and files.read_json(path)
  if not summary then
    summary = copy(figures)
    summary.seconds = summary.seconds or self:seconds()
    local last = self.history[#self.history]
    summary.steps = summary.steps or (last and last.step)
    summary.all_steps = self.cfg:all_steps()
    summary.precision = self.cfg:to_table().precision
    collectgarbage() -- tensors that nobody can reach live no longer
    local tensors = core.mem()
    summary.memory = {
      tensors = tensors.live,
      tensors_peak = tensors.peak,
      held_peak = tensors.held_peak,
      peak = system.meminfo().peak_rss,
    }
    write_json(path, summary)
  end
  self.finished = true
  if not self.cfg.quiet then ending.show(summary, finish) end
  return summary
end

local save_options = checked.any_of {
  "tokenizer",
  "save_dtype",
  "max_shard_size",
  "card",
  "figures",
}

--- Save the model that is the result of a run, unless it is broken: weights that are not finite, a
-- last step whose loss was not, or gradients that were not, so that nothing was learnt. Then it
-- raises, and nothing is saved. Weights that no step has changed are told.
-- @tparam Model model
-- @tparam ?table options `tokenizer` (none), `save_dtype` (the model's) and `max_shard_size` (5 GB,
--   in bytes) as of `Model:save`; `figures` (none): {name = value} for its model card; `card` (made
--   of the run): the card itself
-- @treturn string its folder, `model` in the run's
function Run:save_model(model, options)
  options = checked.take("run:save_model", options, save_options)
  ending.refuse_failed(self, model)
  ending.tell_unchanged(self, model)
  options.card = options.card or ending.card(self, model, options.figures)
  options.figures = nil
  local path = self.dir .. "/model"
  assert(model:save(path, options))
  return path
end

local LOOK <const> = 0.05 -- seconds between looks at the socket and at the recipe's file

--- Begin a step: at the head of the loop, before anything of the step. Live changes of a journal
-- are made, and whoever is attached to the run is served, which may keep it here for as long as it
-- is paused.
-- @tparam integer step the one that begins, from 1
function Run:at(step)
  self.cfg:at(step)
  if not self.begun then
    self.begun, self.look_at = true, 0
    live.write_status(self, "running")
    local opened, message = control.open(self)
    if not opened then io.stderr:write("nobody can attach to this run: ", message, "\n") end
    self.control = opened
  end
  if step == self.cfg.pause_at and self.control then
    self.control:hold(step)
    self.look_at = 0
  end
  local now = system.monotonic()
  local serving = self.control
  if now >= self.look_at or serving and serving:is_busy() then
    self.look_at = now + LOOK
    if self.edits then self:tell_edits(self.edits:look()) end
    if serving then serving:boundary(step, 2) end
  end
  local may_stop = self.graceful and self.parts and step > 1
  if may_stop and host.stopping() then self:save_here(step - 1) end -- which stops the run
end

--- Tells what became of an edit of the recipe, here and to who is attached.
-- @tparam {string,...} texts sentences
function Run:tell_edits(texts)
  for _, text in ipairs(texts) do
    io.stderr:write(format.safe(text), "\n")
    if self.control then self.control:tell { event = "note", text = text } end
  end
end

--- Tell those who look from outside which stage of a run of stages goes on.
-- @tparam {name=string,number=integer,of=integer} stage `name` of its folder, "" before the first
function Run:enter_stage(stage)
  self.stage = stage
  live.write_status(self, "running", stage)
end

--- Take the saved values of the recipe's config block now.
-- @treturn string what was changed
function Run:reload()
  if not self.edits then return "this run has no recipe file that could be edited" end
  local texts = self.edits:look(true)
  self:tell_edits(texts)
  return #texts > 0 and table.concat(texts, "\n") or "the config block is as it was"
end

-- Where the time went: on the terminal, in the folder, as a trace.
local function tell_profile(self)
  local report = self.cfg.profile and self.lock and profile.finish()
  if not report then return end
  local text, trace = tostring(report), self.cfg.profile
  if not self.cfg.quiet then print("\n" .. text) end
  local ok, message = files.write_atomic(self.dir .. "/profile.txt", text .. "\n")
  if ok and trace ~= "table" then
    ok, message = report:write_trace(trace)
  end
  if not ok then io.stderr:write("profile: ", message, "\n") end
end

--- Close all files and give the folder free; more than once is fine.
-- @tparam ?string how the state the run ends in; else "done" when its summary is written,
--   "stopped" by Ctrl-C, "failed" otherwise
function Run:close(how)
  tell_profile(self)
  if (self.begun or self.stage) and self.lock then
    how = how or self.finished and "done" or host.interrupted() and "stopped" or "failed"
    live.write_status(self, how, self.stage)
    if self.events then pcall(self.events.ended, self.events, how) end -- also on a full disk
    if self.control then self.control:close(how) end
    self.control = nil
  end
  for _, name in ipairs { "metrics", "samples", "changes", "alarms", "events" } do
    if self[name] then
      self[name]:close()
      self[name] = nil
    end
  end
  unclosed.remove(self)
  stopping.leave_words()
  if self.graceful then
    self.graceful = nil
    host.graceful(false)
  end
  if self.lock then
    self.lock:release()
    self.lock = nil
  end
end

local own = { ["run.lock"] = true, runs = true }
for _, name in ipairs(beginning.written) do
  own[name] = true
end

--- Close a run that did not end well. One that had not begun leaves nothing that it made.
function Run:abandon()
  local held = self.lock ~= nil
  self:close()
  if held and not (self.begun or self.logged or self.finished) then
    leftover.remove(self.dir, self.before, own)
  end
end

Run.__close = function(self, err)
  local close = err and self.abandon or self.close
  close(self)
end
Run.__gc = Run.abandon

function Run:__tostring()
  return ("run in %s, %s, %d rows of metrics"):format(
    self.dir,
    self.lock and "open" or "closed",
    #(self.history or {})
  )
end

return run
