"""What denoising the latents costs: bytes at the peak beside the weights, and multiplications.

Counted as an allocation trace of `sample_latents` finds them. Knows no torch and no machine.
"""

from dataclasses import dataclass

from partwise.points.cost import EXACT, StageBytes
from partwise.xpart.config import DitConfig

EXPANSION = 4  # of a feed-forward layer
NORM_ROWS = 2048  # tokens whose heads are normalised at once


@dataclass(frozen=True)
class Denoising:
    """One way to denoise P parts of T latent tokens each, looking at M tokens of a condition.

    item: bytes of a product. batch: parts at once. is_cached: what is seen of the conditions stays
    from step to step. is_offloaded: conditions and skips lie in a memory that is not the device's.
    """

    config: DitConfig
    part_count: int
    tokens: int
    condition_tokens: int
    item: int
    batch: int
    is_cached: bool = False
    is_offloaded: bool = False

    def size(self) -> StageBytes:
        """At the peak of all steps. The choice of experts: all tokens take the same ones."""
        peaks = [self._held(i) + peak for i in range(self.config.depth) for peak in self._layers(i)]
        return StageBytes(self._kept() + max(peaks), self._largest())

    def _kept(self) -> int:
        """Through all blocks: conditions, what is seen of them, latents before and after."""
        config = self.config
        latents = EXACT * self.part_count * self.tokens * config.in_channels
        conditions = 0 if self.is_offloaded else self._condition(self.part_count + 1)
        seen = config.depth * self._seen(self.part_count + 1) if self.is_cached else 0
        return latents + conditions + seen

    def _held(self, block: int) -> int:
        """The residual stream, and as many early outputs as wait in or above a block."""
        half = self.config.depth // 2
        skips = 0 if self.is_offloaded else min(block, half, 2 * half + 1 - block)
        return EXACT * self._all * (1 + skips)

    def _layers(self, block: int) -> tuple[int, ...]:
        """At the peaks of a block's layers."""
        config = self.config
        joined = self._join() if config.has_skip(block) else 0
        attention = self._attend_over_parts() if config.is_global(block) else self._attend_within()
        fed = self._feed_experts() if config.has_experts(block) else self._feed()
        return joined, attention, *self._look(), fed

    def _join(self) -> int:
        """Skip and stream side by side, the product, its exact copy or its norm."""
        made = self.item if self.item != EXACT else 0
        return self._rows * (2 * self.item + max(made, EXACT) + EXACT)

    def _attend_within(self) -> int:
        """What is asked, three sides, the mixture, the product."""
        return self._rows * 4 * self.item + max(2 * self._rows * self.item, self._norm(self._rows))

    def _attend_over_parts(self) -> int:
        """Three sides of all parts; with them what a batch asks with, or what it found."""
        normed = EXACT + self.item if self.item != EXACT else EXACT
        found = 3 if self.batch < self.part_count else 2
        rows = self._rows
        step = max(normed, 2 * self.item, found * self.item) * rows
        return 3 * self.item * self._all + max(step, self.item * rows + self._norm(rows))

    def _look(self) -> tuple[int, ...]:
        """At the object, whose keys and values are made once; then at the parts, batch by batch."""
        row, norm = self.item * self._rows, self._norm(self._rows)
        asking, seeking = max(5 * row, 3 * row + norm), max(3 * row, row + norm)
        if self.is_cached:
            return (asking,)
        whole, parts = self._seen(1), self._seen(self.batch)
        if self.part_count == 1:  # the part's, too, are made before anyone asks
            return 2 * whole + asking, 2 * whole + self._making(1)
        at_part = whole + row + parts + max(self._making(self.batch), seeking)
        return whole + self._making(1), whole + asking, at_part

    def _making(self, count: int) -> int:
        """Beside keys and values: a product of theirs, or their norm."""
        values = count * self.condition_tokens * self.config.hidden_size
        sent = self._condition(count) if self.is_offloaded else 0
        return max(self.item * values, self._norm(values)) + sent

    def _feed(self) -> int:
        return self.item * self._rows * (2 + EXPANSION)

    def _feed_experts(self) -> int:
        """The tokens of all parts; a batch of them gathered, its hidden layer, its product."""
        gate = EXACT * self.config.num_experts * self._all // self.config.hidden_size
        return self.item * self._all + gate + self.item * self._rows * (2 + EXPANSION)

    def _norm(self, values: int) -> int:
        """While heads are normalised where they are, in exact numbers, some rows at once."""
        width = self.config.hidden_size
        rows = min(NORM_ROWS, values // width)
        copies = 2 if self.item == EXACT else 3
        return EXACT * rows * (copies * width + self.config.num_heads)

    @property
    def _rows(self) -> int:
        """Numbers in a batch's tokens."""
        return self.batch * (1 + self.tokens) * self.config.hidden_size

    @property
    def _all(self) -> int:
        """Numbers in the tokens of all parts."""
        return self.part_count * (1 + self.tokens) * self.config.hidden_size

    def _condition(self, count: int) -> int:
        return self.item * count * self.condition_tokens * self.config.encoder_hidden_dim

    def _seen(self, count: int) -> int:
        """Keys and values of so many conditions, in one attention."""
        return 2 * self.item * count * self.condition_tokens * self.config.hidden_size

    def _largest(self) -> int:
        hidden = EXPANSION * self.item * self._rows
        seen = self._seen(self.part_count if self.is_cached else self.batch)
        return max(EXACT * self._all, 3 * self.item * self._all, hidden, seen)

    def flops(self, steps: int) -> float:
        """Of so many calls of the model; those of norms are not counted."""
        once = 2.0 * self.config.depth * self._seen_multiplications()
        calls = 1 if self.is_cached else steps
        return calls * once + steps * 2.0 * self._step_multiplications()

    def _seen_multiplications(self) -> int:
        """Keys and values of the object's condition and of each part's, in one block."""
        config = self.config
        rows = (1 + self.part_count) * self.condition_tokens
        return rows * 2 * config.encoder_hidden_dim * config.hidden_size

    def _step_multiplications(self) -> int:
        """All else in one call."""
        config, length = self.config, 1 + self.tokens
        width, rows = config.hidden_size, self.part_count * length
        total = rows * 2 * config.in_channels * width
        for block in range(config.depth):
            others = rows if config.is_global(block) else length
            total += rows * (4 * width**2 + 2 * others * width)
            total += 2 * rows * (2 * width**2 + 2 * self.condition_tokens * width)
            total += rows * 2 * width**2 if config.has_skip(block) else 0
            experts = 1 + config.moe_top_k if config.has_experts(block) else 1
            total += rows * experts * 2 * EXPANSION * width**2
            total += rows * config.num_experts * width if config.has_experts(block) else 0
        return total + 2 * EXPANSION * width**2  # the time's token
