--- What the engine gives to Lua and C alone declares (lua/bind/lb_*.c): the doc comments of these
-- functions and objects. There is nothing here to run; ops are described by their rows in
-- engine/ops/ops.def.

--- A tensor of the values of a table.
-- @tparam number|table values a number (a tensor of no axes), or a list of numbers, or lists nested
--   as deep as there are axes (at most 6), as `{ {1, 2}, {3, 4} }`
-- @tparam ?string dtype "float32" (default), "float64" or "int32"
-- @treturn Tensor of the table's sizes [n1, n2, ...]; raises when the table is ragged or holds
--   something else than numbers
-- @name pl.tensor

--- A tensor of one value: `pl.full(3, 4, 0.5)` or `pl.full({3, 4}, 0.5)`.
-- @tparam integer|{integer,...} ... the sizes, one by one or as a list, then the value, then
--   perhaps the dtype (default: "float32")
-- @treturn Tensor of the given sizes [n1, n2, ...]
-- @name pl.full

--- A tensor of zeros: `pl.zeros(3, 4)`, `pl.zeros{3, 4}`, `pl.zeros(3, 4, "int32")` or
-- `pl.zeros{3, 4, dtype = "int32"}`.
-- @tparam integer|{integer,...} ... the sizes, one by one or as a list, then perhaps the dtype
--   "float32" (default), "float64" or "int32"
-- @treturn Tensor of the given sizes [n1, n2, ...]; raises when memory's limit would be passed
-- @name pl.zeros

--- A tensor of ones: sizes and dtype as of zeros.
-- @tparam integer|{integer,...} ... the sizes, one by one or as a list, then perhaps the dtype, as
--   of `pl.zeros`
-- @treturn Tensor of the given sizes [n1, n2, ...]
-- @name pl.ones

--- Numbers in steps: `pl.arange(n)` is 0 .. n-1, `pl.arange(from, to, step)` goes from `from`
-- towards `to`, which is not reached. int32 when all numbers are whole, else float32.
-- @tparam number ... n, or from, to and perhaps the step (default: 1), then perhaps the dtype
-- @treturn Tensor [n], n the count of numbers; raises when the steps lead away from the end
-- @name pl.arange

--- A tensor of normal random numbers with mean `a` and standard deviation `b`: the next draw of the
-- session's stream, or, with `seed`, the stream of seed and purpose. `pl.randn(3, 4)`,
-- `pl.randn{3, 4, seed = 1}`, `pl.randn({3, 4}, {seed = 1})`.
-- @tparam integer|{integer,...} ... the sizes, one by one or as a list, then perhaps a table of
--   `seed` (none: the session's stream), `purpose` (0; an integer, as `pl.random_purpose` gives),
--   `dtype` ("float32"; or "float64"), `a` (0, the mean), `b` (1, the standard deviation)
-- @treturn Tensor of the given sizes [n1, n2, ...]
-- @name pl.randn

--- A tensor of uniform random numbers in [a, b), 0 and 1 unless told otherwise.
-- @tparam integer|{integer,...} ... sizes and options as of `pl.randn`; `a` (0) and `b` (1) are the
--   ends of the range
-- @treturn Tensor of the given sizes [n1, n2, ...]
-- @name pl.uniform

--- The same as uniform.
-- @tparam integer|{integer,...} ... sizes and options as of `pl.uniform`
-- @treturn Tensor of the given sizes [n1, n2, ...]
-- @name pl.rand

--- A tensor of bytes as they lie in memory; raises when their number is not the shape's.
-- @tparam string bytes the elements as they lie in memory, the last axis innermost, little-endian
-- @tparam string dtype "float32", "float64", "int32", or a kept one ("bfloat16", "float16", "q8_0",
--   "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"), whose rows are whole blocks of 1, 32
--   or 256 elements
-- @tparam {integer,...} shape the size of each axis
-- @treturn Tensor of that shape and dtype
-- @name pl.from_bytes

--- Whether a value is a tensor, even a freed one.
-- @tparam any value of any type
-- @treturn boolean
-- @name pl.is_tensor

--- Opens a scope: the tensors made until it closes end with it, and so does the tape. Hold it in a
-- variable with `<close>`: one that nobody holds frees nothing, and is told on standard error.
-- @tparam ?string name for messages (default: "scope")
-- @treturn Scope
-- @name pl.scope

--- Opens a scope inside a forward pass: what the tape still needs of its tensors stays until the
-- tape is done with it, the rest ends with the scope.
-- @tparam ?string name for messages (default: "frame")
-- @treturn Scope
-- @name pl.frame

--- What memory the engine holds.
-- @treturn {live=integer,peak=integer,limit=integer,cached=integer,held_peak=integer,calls=integer}
--   bytes that live now (`live`), at the most (`peak`), that may live (`limit`; 0: no limit), that
--   wait to be used again (`cached`), that lived and waited at once at the most (`held_peak`); and
--   the number of allocations (`calls`)
-- @name pl.mem

--- Sets a limit: what would pass it raises instead.
-- @tparam integer bytes that may live at once; 0: no limit
-- @name pl.mem_limit

--- Lets the peak begin anew, at what is live now.
-- @name pl.mem_reset_peak

--- For tests: the k-th allocation from now on fails.
-- @tparam integer k 0: none
-- @tparam ?boolean forever all later ones fail too
-- @name pl.mem_fail_at

--- Gives cached memory back to the system.
-- @name pl.mem_trim

--- The number of threads, set before when it is given.
-- @tparam ?integer n threads to use, at least 1; raises when it is more than the engine can have
-- @treturn integer threads in use
-- @name pl.threads

--- The kernels in use.
-- @treturn string "avx512", "avx2" or "plain"
-- @name pl.isa

--- How bfloat16 products are added up.
-- @treturn string rule: "tiles" (AMX), "pairs" (AVX512_BF16) or "chain"; see docs/determinism.md
-- @treturn boolean native: false where the processor lacks the rule's instruction, emulated then
-- @name pl.bf16

--- Whether products in eight bits (precision int8) have an instruction of their own here, else they
-- are slower and have the same bits.
-- @treturn boolean
-- @name pl.vnni

--- Who does large matrix products, set before when it is given.
-- @tparam ?string name "auto", "own", "openblas" or "split"
-- @treturn {wish=string,float32=string,float64=string,split=boolean,rows_alone=boolean} "own" or
--   "openblas" for each dtype; whether products for float32 gradients are of split numbers
--   (docs/determinism.md); whether a row's bits depend on that row alone
-- @name pl.gemm

--- One uniform random number in [0, 1), 53 bits.
-- @tparam integer seed of the stream, 64 bits
-- @tparam integer purpose of the stream, as `pl.random_purpose` gives it
-- @tparam integer index place of the number in the stream, from 0
-- @treturn number a function of these three alone
-- @name pl.random_uniform

--- One normal random number, mean 0 and variance 1.
-- @tparam integer seed of the stream, 64 bits
-- @tparam integer purpose of the stream, as `pl.random_purpose` gives it
-- @tparam integer index place of the number in the stream, from 0
-- @treturn number a function of these three alone
-- @name pl.random_normal

--- The hash of a name and its parts (XXH3), by which random streams are told apart; `pl.random`
-- makes streams of names.
-- @tparam string name what the numbers are for, such as "sft.order"
-- @tparam integer|string ... what tells streams of that name apart, such as the number of the epoch
-- @treturn integer the purpose, 64 bits
-- @name pl.random_purpose

--- The seed of the session's stream, from which tensors without a seed are drawn; with a number,
-- the stream begins anew with that.
-- @tparam ?integer n the seed to begin anew with; nil asks for the one in use
-- @treturn ?integer the seed, when no number is given
-- @name pl.seed

--- A block of parameters: tensors that lie in one flat piece, for optimizers and averages. All are
-- zeros at first and want gradients.
-- @tparam {{string,{integer,...}},...} entries each {name, shape}
-- @tparam ?string dtype "float32" (default) or "float64"
-- @treturn ParameterBlock
-- @name pl.block

--- The engine's part of an optimizer: `pl.adamw` wraps it.
-- @tparam ParameterBlock block whose parameters the steps change
-- @tparam ?boolean eight_bit moments in 8 bits (default false)
-- @treturn userdata with `step(options)`, `state()` and `set_steps(n)`, as `Optimizer` has them
-- @name pl.adamw_state

--- The engine's part of an optimizer whose matrices are stepped by Muon: `pl.muon` wraps it. Raises
-- when one of them has not two axes.
-- @tparam ParameterBlock block whose parameters the steps change
-- @tparam {[string]=boolean} matrices true for the names of those
-- @tparam ?boolean bf16 products of operands in bfloat16, of float32 parameters (default false)
-- @treturn userdata with `step(options)`, `state()` and `set_steps(n)`, as `Optimizer` has them
-- @name pl.muon_state

--- Records no tape until the guard closes. Hold it in a variable with `<close>`.
-- @treturn userdata guard
-- @name pl.no_grad

--- Records a tape until the guard closes, inside of no_grad too.
-- @treturn userdata guard
-- @name pl.with_grad

--- Whether a tape is recorded now.
-- @treturn boolean
-- @name pl.grad_enabled

--- Activation checkpointing: calls `f` without a tape and keeps only what it was given; the
-- backward pass calls it again, with a tape. So `f` must give the same values each time.
-- @tparam function f takes the tensors, gives one tensor
-- @tparam Tensor ... 1 to 8 of them, of any shape [...]
-- @treturn Tensor what `f` gave, in its shape
-- @name pl.checkpoint

--- A generator over a recorded decode step: `pl.generate` makes one for a model.
-- @tparam function step takes a batch with int32 `tokens`, `positions`, `offsets`, `blocks`
--   [B, M], `past` and `last`; gives the logits [B, V] of the last row of each sequence
-- @tparam {Tensor,...} caches the k and v cache of each layer, each [blocks, G, len, D] for G heads
--   of D channels; a text takes a block for each `len` of its tokens
-- @treturn userdata with `generate(prompts, opts)`, whose options are those of `pl.generate`, but
--   `cache_blocks` (as many as there are) for `cache_memory`: blocks that the caches may grow to
-- @name pl.generator

--- Whether each op looks for results that are not finite, and raises with its name.
-- @tparam boolean on false (as at the start): results are not looked at
-- @name pl.nan_check

--- The rows of engine/ops/ops.def, in their order.
-- @treturn {table,...} each with `name`, `doc` (its formula), `shapes`, `inputs`, `params` (their
--   kinds and defaults), `outputs`, `flags`
-- @name pl.ops

--- The known name nearest to one that is not known, to say what was meant.
-- @tparam string name as it was typed
-- @tparam {string,...} known the names that there are
-- @treturn ?string nil when none is near
-- @name pl.nearest

--- A tensor: at most 6 axes of float32, float64 or int32. Ops are methods too, where the tensor is
-- their first input; + - * / ^ and unary minus are ops. `#t` is the size of the first axis. `==`
-- tells whether two handles are the same tensor, never whether values are equal, and is false for a
-- number (Lua asks nobody there); `<` and `>` raise. For values there are pl.eq, pl.lt and others.
--
-- `x[3]`, `x[-1]` (the last), `x[{2, 5}]` (places 2 to 5) and `x[{ {2, 5}, 3 }]` (for each axis a
-- place, a run or {} for all) are parts of it; docs/tensors.md says which share its memory.
-- `x[...] = v` writes a number, a tensor that broadcasts or a table.
--
-- In the texts of this reference a shape stands in brackets, [B, T, C]; a tensor is float32 or
-- float64 where no dtype is named.
-- @class Tensor

--- The sizes of all axes.
-- @treturn {integer,...}
-- @name Tensor:shape

--- The size of an axis.
-- @tparam ?integer axis from 1, or from the end with -1 (default: 1)
-- @treturn integer elements along it; raises when there is no such axis
-- @name Tensor:size

--- The number of axes.
-- @treturn integer from 0, of a single number, to 6
-- @name Tensor:rank

--- The number of elements.
-- @treturn integer the product of all sizes
-- @name Tensor:count

--- The type of the elements.
-- @treturn string "float32", "float64", "int32" or a kept dtype (see from_bytes)
-- @name Tensor:dtype

--- The value of a tensor with one element; raises for any other.
-- @treturn number in double precision
-- @name Tensor:item

--- One element. Raises when there is no such place, or when the tensor is of a kept dtype.
-- @tparam integer ... an index for each axis, from 1, or from the end with -1
-- @treturn number in double precision
-- @name Tensor:get

--- Writes one element; raises while a gradient needs the value it has.
-- @tparam number ... an index for each axis, then the value
-- @treturn Tensor itself
-- @name Tensor:set

--- The elements as a table nested as deep as there are axes. Raises for a tensor of a kept dtype:
-- cast it first.
-- @treturn number|table a number when there are no axes, else a list of numbers, or of such lists,
--   `{ {1, 2}, {3, 4} }`
-- @name Tensor:totable

--- The elements as they lie in memory; of a kept tensor, its blocks.
-- @treturn string
-- @name Tensor:bytes

--- Writes one value everywhere.
-- @tparam number value rounded to the tensor's dtype
-- @treturn Tensor itself
-- @name Tensor:fill_

--- Writes the elements of another tensor of the same shape and dtype.
-- @tparam Tensor from of the same shape and dtype, else it raises
-- @treturn Tensor itself
-- @name Tensor:copy_

--- A copy with memory of its own, without a tape.
-- @treturn Tensor of the same shape and dtype, in the scope that is open
-- @name Tensor:clone

--- The same memory, without a tape.
-- @treturn Tensor of the same shape and dtype; writes into it are seen by both
-- @name Tensor:detach

--- Moves it to the scope around its own.
-- @tparam ?boolean forever to no scope at all
-- @treturn Tensor itself
-- @name Tensor:keep

--- Gives its memory back now; using it later raises.
-- @name Tensor:free

--- The bytes of its data; those of a kept tensor are its blocks.
-- @treturn integer bytes, whether it is a view or not
-- @name Tensor:memory

--- Grows with every write into the memory that the tensor and its views share.
-- @treturn integer a count of writes
-- @name Tensor:version

--- Whether its memory is still there.
-- @treturn boolean
-- @name Tensor:alive

--- Its name in messages, or names it.
-- @tparam ?string name at most 127 bytes are kept; nil asks for the one it has
-- @treturn string|Tensor the name; itself when it is named
-- @name Tensor:name

--- Whether it wants a gradient, or says so.
-- @tparam ?boolean on nil asks; raises for a tensor of a kept dtype
-- @treturn boolean|Tensor whether it does; itself when it is told
-- @name Tensor:requires_grad

--- The gradient that backward left.
-- @treturn ?Tensor of the same shape and dtype; nil when there is none
-- @name Tensor:grad

--- Drops the gradient.
-- @treturn Tensor itself
-- @name Tensor:zero_grad

--- Adds its gradient to all that it was made of and that want one. Raises without a tape, and when
-- a value that a gradient needs was written over since.
-- @tparam ?Tensor seed its own gradient, of its shape and dtype (default: 1, for a tensor of one
--   element)
-- @name Tensor:backward

--- An open scope.
-- @class Scope

--- Closes the scope and those opened after it; more than once is fine.
-- @name Scope:close

--- Parameters in one flat piece of memory.
-- @class ParameterBlock

--- The parameters.
-- @treturn {[string]=Tensor} by name, views into the block, each of the shape it was declared with
-- @name ParameterBlock:tensors

--- Their names, in order.
-- @treturn {string,...}
-- @name ParameterBlock:names

--- The number of parameters, elements of all tensors.
-- @treturn integer elements, gaps between the tensors not counted
-- @name ParameterBlock:count

--- All of them as one tensor; gaps are zeros.
-- @treturn Tensor the live weights [n], n the elements with their gaps
-- @name ParameterBlock:flat

--- All gradients as one tensor.
-- @treturn Tensor the live gradients [n], as of `flat`; zeros where no gradient came
-- @name ParameterBlock:grads

--- Drops all gradients.
-- @name ParameterBlock:zero_grad

--- The Euclidean norm of all gradients.
-- @treturn number √(Σ g²); 0 when there are no gradients
-- @name ParameterBlock:grad_norm

--- The parameters that no gradient has reached since the last zero_grad.
-- @treturn {string,...} their names
-- @name ParameterBlock:unreached

--- Moves towards another block of the same parameters: block = decay block + (1 - decay) other.
-- @tparam ParameterBlock other of the same names, shapes and dtype, else it raises
-- @tparam number decay the part of the block that stays, 0 to 1; 0 copies `other`
-- @name ParameterBlock:average

--- Copies values and gradients of tensors that stand alone into the block.
-- @tparam {Tensor,...} tensors one for each parameter, of its shape and dtype, in the order of
--   `names`; raises when one does not fit
-- @name ParameterBlock:take

--- Copies the block's values into tensors that stand alone.
-- @tparam {Tensor,...} tensors one for each parameter, of its shape and dtype, in the order of
--   `names`
-- @name ParameterBlock:give

--- XXH3-128 over names, shapes and values.
-- @treturn string 32 hexadecimal digits
-- @name ParameterBlock:hash

--- Whether all of them want gradients.
-- @tparam boolean on false makes all of them constants
-- @name ParameterBlock:requires_grad

return {}
