--- The numbers of InstructGPT (Ouyang et al. 2022, arXiv:2203.02155, appendix C), by recipe.
--
--     perilune run recipes/ppo.lua --preset instructgpt --model ... --dataset ...
--
-- C.1 SFT; C.2 reward model; C.4 PPO. C.3, the model PPO starts from, is the preset
-- instructgpt_ppo_init. Learning rates are those of the 1.3B model. Not printed in the paper and
-- therefore left at the recipes' defaults: the policy's learning rate that was chosen (swept from
-- 2.55e-6 to 2.55e-5), λ, value coefficient and clip, whitening, Adam's ε. Context 2,048: prompts
-- over 1,024 tokens are dropped, answers end at 1,024. The data sets: appendix A and table 6.

return {
  -- A.2 and A.3: at most 200 prompts a user, 13k, 33k and 31k training prompts, K = 4 to 9.
  collect = {
    max_per_user = 200,
    sft_size = 13000,
    rm_size = 33000,
    ppo_size = 31000,
    min_answers = 4,
    max_answers = 9,
    personal_data = "mask",
    personal_data_sides = "train",
  },
  -- C.1: 16 epochs, residual dropout 0.2, cosine to a tenth, no warm-up, batch 32; the checkpoint
  -- is chosen by reward-model score (give reward_model and select_prompts).
  sft = {
    adam_beta1 = 0.9,
    adam_beta2 = 0.95,
    num_train_epochs = 16,
    batch_size = 32,
    resid_dropout = 0.2,
    max_length = 2048,
    learning_rate = "cosine(9.65e-6, 9.65e-7)",
  },
  -- C.2: one epoch, 64 prompts with K = 4 to 9 answers each, ties dropped, cosine to a tenth.
  reward = {
    adam_beta1 = 0.9,
    adam_beta2 = 0.95,
    num_train_epochs = 1,
    batch_size = 64,
    ties = "drop",
    variant = "logsigmoid",
    learning_rate = "cosine(9e-6, 9e-7)",
  },
  -- C.4: β 0.02, 256k episodes, batch 512 in 8 minibatches, one inner epoch, constant rate after
  -- 10 iterations of warm-up from a tenth, EMA 0.992, no discount, clip 0.2, temperature 1;
  -- PPO-ptx: γ 27.8 and eight pretraining examples for each episode.
  ppo = {
    adam_beta1 = 0.9,
    adam_beta2 = 0.95,
    kl_coef = 0.02,
    kl_estimator = "k1",
    kl_placement = "reward",
    total_episodes = 256000,
    batch_size = 512,
    num_mini_batches = 8,
    num_ppo_epochs = 1,
    cliprange = 0.2,
    gamma = 1.0,
    temperature = 1.0,
    missing_eos_rule = "subtract",
    ema_decay = 0.992,
    ema_final = true,
    ptx_coef = 27.8,
    ptx_batch_ratio = 8.0,
    ptx_length = 2048,
    max_prompt_length = 1024,
    response_length = 1024,
    learning_rate = "warmup(10, 9.65e-6, 0.1)",
    value_learning_rate = "warmup(10, 9e-6, 0.1)",
  },
}
