"""A configuration whose studies take seconds."""

TINY = """
families: [gpt, mixture]
data: {source: package, train_tokens: 16000, block_size: 32}
tokenizer: {kind: bpe, vocab_size: 512, train_bytes: 200_000}
model: {n_layer: 1, n_head: 2, n_embd: 32}
gpt: {share_layers: true, library: {size: 8}}
evaluation: {batch_size: 4, batches: 2}
search: {population: 6, surrogate: {kind: none, start: 1, full_eval_fraction: 0.5, pool_factor: 2}}
mixture:
  slots: 3
  bucketings: [none, position]
  steps: 3
  library:
    {patterns: [[1], [2], [3]], class_maps: [], class_targets: [], class_patterns: [],
     functions: [], gated_maps: [], cache_half_lives: [8, 32, inf], cache_idf: [0],
     induction_lengths: [1, 2], induction_decays: [1.0]}
ablate:
  evaluations: 14
  seeds: 3
  factors:
    size: {family: gpt, base: 8, levels: {8: {}, 16: {gpt.library.size: 16}}}
    slots: {family: mixture, base: 3, levels: {3: {}, 2: {mixture.slots: 2}}}
    surrogate: {base: none, levels: {none: {}, ridge: {search.surrogate.kind: ridge}}}
tune:
  family: gpt
  trials: 6
  parallel: 2
  seeds: 1
  check_seeds: 2
  budget: {evaluations: 12}
  space: {population: {low: 6, high: 9}, surrogate: {kind: [ridge, none], start: 1}}
savings:
  evaluations: 14
  seeds: 3
  beyond_target: true
  arms: {unfiltered: {surrogate.kind: none}, ridge: {surrogate.kind: ridge}}
"""
