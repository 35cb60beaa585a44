--- A run that lives for a minute in the folder it is given and can be talked to: for the test of
-- `perilune watch`. Its answers are hostile texts.

local pl = require("perilune")

local hostile = dofile("tests/browser/hostile.lua")
local folder = arg[1]

local cfg = pl.config {
  name = "ppo",
  about = "a run to look at",
  args = { "--output_dir", folder, "--quiet" },
  { kl_coef = 0.05, "β", min = 0, schedule = true },
}
local run = pl.run.open(cfg)
cfg:set_horizon(100000)
local began, step = pl.seconds(), 0
while pl.seconds() - began < 90 do
  step = step + 1
  run:at(step)
  run:log(step, {
    ["objective/scores"] = math.sin(step / 9),
    ["objective/kl"] = step / 50,
    ["objective/kl_coef"] = cfg.kl_coef(step),
  })
  local text = hostile[step % #hostile + 1]
  run:sample(step, {
    prompt = text,
    answer = text,
    score = 0.5,
    tokens = { text:sub(1, 100), "b" },
    kl = { 0.5, -0.5 },
  })
  if step == 3 then run:alarm(step, hostile[1], hostile[3]) end
  require("perilune.core").system.sleep(0.1)
end
run:close()
