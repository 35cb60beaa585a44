--- The keys every recipe has, and the names other programs give to ours.
--
-- Names follow TRL and transformers (TRL's ppo_config.py and transformers' TrainingArguments), so
-- that what people know keeps working. `resume` and `overwrite_output_dir` say what to do with a
-- run folder that already holds a run; without either such a folder is refused.

local common = {}

--- Rows merged into every recipe's, under the heading "Run".
common.rows = {
  { output_dir = "", "folder of the run: metrics, samples, checkpoints, report", live = false },
  { seed = 1, "all random numbers of the run follow from it", min = 0, live = false },
  {
    threads = 0,
    "CPU threads; 0 takes all that this process may use",
    min = 0,
    max = 1024,
    transient = true,
  },
  {
    max_steps = 0,
    "stop after so many steps; 0 runs to the end of the data",
    min = 0,
    live = false,
  },
  { logging_steps = 1, "write metrics every so many steps", min = 1, free = true },
  {
    save_steps = 0,
    "write a checkpoint every so many steps; 0 only at the end",
    min = 0,
    free = true,
  },
  {
    save_total_limit = 2,
    "checkpoints to keep, the best one not counted; 0 keeps all",
    min = 0,
    free = true,
  },
  {
    resume = false,
    "go on from the newest checkpoint of output_dir, or from the one named",
    type = "string",
    flag = "latest",
    transient = true,
    live = false,
    alias = "resume_from_checkpoint",
  },
  {
    resume_changed = {},
    "keys that may differ from the checkpoint's: key,key; recipe: its file",
    transient = true,
    live = false,
  },
  {
    pause_at = 0,
    "hold before this step until somebody attached lets the run go on; 0: never",
    min = 0,
    transient = true,
    free = true,
  },
  {
    replay_of = "",
    "folder of a run whose live changes are made again at their steps",
    transient = true,
    live = false,
  },
  {
    overwrite_output_dir = false,
    "delete the run that output_dir already holds",
    transient = true,
    live = false,
  },
  { nan_check = false, "name the first op that makes a NaN or an infinity (slower)", free = true },
  {
    profile = false,
    "tell at the end where the time went (and in profile.txt); PATH.json: a Chrome trace too",
    type = "string",
    flag = "table",
    transient = true,
    live = false,
  },
  { quiet = false, "no progress on the terminal", transient = true, live = false },
}

--- What other programs call it -> what it may be called here, first known name wins.
common.aliases = {
  init_kl_coef = { "kl_coef" },
  kl_penalty_coef = { "kl_coef" },
  kl_beta = { "kl_coef", "beta" },
  eps_clip = { "cliprange" },
  clip_eps = { "cliprange" },
  clip_ratio = { "cliprange" },
  clip_range = { "cliprange" },
  clip_coef = { "cliprange" },
  value_clip = { "cliprange_value" },
  clip_range_value = { "cliprange_value" },
  value_coef = { "vf_coef" },
  critic_coef = { "vf_coef" },
  entropy_coef = { "ent_coef", "entropy_coeff" },
  ent_coef = { "entropy_coef" },
  lmbda = { "lam" },
  lambda = { "lam" },
  gae_lambda = { "lam" },
  pretrain_coef = { "ptx_coef" },
  gamma_ptx = { "ptx_coef" },
  n_samples_per_prompt = { "num_generations", "samples_per_prompt" },
  rollout_batch_size = { "batch_size", "rollout_size" },
  ppo_epochs = { "num_ppo_epochs" },
  noptepochs = { "num_ppo_epochs" },
  nminibatches = { "num_mini_batches" },
  total_steps = { "max_steps" },
  epochs = { "num_train_epochs" },
  lr = { "learning_rate" },
  grad_clip = { "max_grad_norm" },
  max_new_tokens = { "response_length", "max_tokens" },
  max_completion_length = { "response_length", "max_tokens" },
  random_seed = { "seed" },
  num_threads = { "threads" },
  log_steps = { "logging_steps" },
  out_dir = { "output_dir" },
  logging_dir = { "output_dir" },
  resume_from_checkpoint = { "resume" },
}

return common
