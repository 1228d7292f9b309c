"""Small networks in float64 whose kernels are checked, and the plainest way to a kernel."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

TOLERANCE = 1e-12


def share(part):
    """Settings that run ``1 / part`` of the profile's examples: a network costs milliseconds."""
    return settings(max_examples=max(1, settings.default.max_examples // part))


def jacobian(model, x, parameters=None):
    """All gradients by one backward pass each, (N, K, P); ``parameters`` are names."""
    model = copy.deepcopy(model).requires_grad_()
    named = dict(model.named_parameters())
    chosen = [named[name] for name in (named if parameters is None else parameters)]
    rows = [
        torch.autograd.grad(value, chosen, retain_graph=True, materialize_grads=True)
        for value in model(x).reshape(-1)
    ]
    flat = torch.stack([torch.cat([each.reshape(-1) for each in row]) for row in rows])
    return flat.reshape(len(x), -1, flat.shape[1])


def reference(model, x1, x2=None, parameters=None):
    """The full kernel (N, M, K, K) from all gradients."""
    left = jacobian(model, x1, parameters)
    right = left if x2 is None else jacobian(model, x2, parameters)
    return torch.einsum("nip,mjp->nmij", left, right)


def assert_near(got, want, tolerance=TOLERANCE, scale=None):
    """Equal up to ``tolerance`` of the largest entry (or of ``scale``)."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    size = float(want.abs().max()) if scale is None else scale
    torch.testing.assert_close(got, want, rtol=0, atol=tolerance * max(size, 1e-300))


def randomized(model, seed=0):
    """All parameters and running statistics at random, so that none is 0 or 1 by default."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 1 / max(1, parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.5
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(scale * noise)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(generator=generator)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0, generator=generator)
    return model


def normal(*shape, seed=1):
    """Standard normal inputs."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def indices(*shape, below, seed=1):
    """Integer inputs."""
    return torch.randint(0, below, shape, generator=torch.Generator().manual_seed(seed))


def head(channels, outputs=2):
    """Curved, flattened, and read out."""
    return nn.Sequential(nn.Tanh(), nn.Flatten(), nn.Linear(channels, outputs))


@dataclass(frozen=True)
class Built:
    """A network and where its inputs come from."""

    model: nn.Module
    inputs: Callable[[int], Tensor]

    def x(self, count=3, seed=1):
        """``count`` samples."""
        return self.inputs(count, seed)


def on(model, *shape, below=None):
    """``model`` on samples of ``shape``: standard normal, or integers below ``below``."""

    def inputs(count, seed):
        if below is not None:
            return indices(count, *shape, below=below, seed=seed)
        return normal(count, *shape, seed=seed)

    return Built(randomized(model), inputs)


class Scaled(nn.Module):
    """Owns raw parameters, one of them a number, beside a layer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.shift = nn.Parameter(torch.ones(3))
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.scale * torch.tanh(self.layer(x)) + self.shift


class Attention(nn.Module):
    """Self-attention over a sequence, then the mean."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.readout = nn.Linear(4, 2)

    def forward(self, x):
        return self.readout(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    """The last state of a recurrent network."""

    def __init__(self, kind):
        super().__init__()
        self.cell = kind(3, 4, batch_first=True)
        self.readout = nn.Linear(4, 2)

    def forward(self, x):
        return self.readout(self.cell(x)[0][:, -1])


class Tied(nn.Module):
    """A language model in small: the embedding is the readout."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.hidden = nn.Linear(4, 4)
        self.readout = nn.Linear(4, 5, bias=False)
        self.readout.weight = self.embedding.weight

    def forward(self, x):
        return self.readout(torch.tanh(self.hidden(self.embedding(x))).mean(1))


class Twice(nn.Module):
    """One layer called twice, and its weight used once more by hand."""

    def __init__(self, *, by_hand):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)
        self.by_hand = by_hand

    def forward(self, x):
        x = torch.tanh(self.first(torch.tanh(self.first(x))))
        if self.by_hand:
            x = torch.tanh(x @ self.first.weight.mT + self.first.bias)
        return self.last(x)


class ConvolutionTwice(nn.Module):
    """One convolution called twice on images of two sizes, and one embedding-free residual."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.GroupNorm(1, 2)
        self.last = nn.Linear(2, 2)

    def forward(self, x):
        x = torch.tanh(self.norm(self.convolution(x)))
        x = F.avg_pool2d(x, 2)
        return self.last(torch.tanh(self.norm(self.convolution(x))).mean((2, 3)))


class FunctionalOnly(nn.Module):
    """A layer that is never called: only its parameters are used."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        return self.last(torch.tanh(F.linear(x, self.first.weight, self.first.bias)))


class InPlace(nn.Module):
    """What hooks see is overwritten: the output of a layer, and the input of another."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.third = nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        x = F.elu(self.first(x), inplace=True)
        y = self.second(x)
        y += x
        y = y.tanh_()
        z = self.third(y * 1.0)
        z.mul_(2.0).sin_()
        y = y + z
        out = self.last(y)
        out += 1.0
        return out


class Unused(nn.Module):
    """Has a layer and a parameter that nothing depends on."""

    def __init__(self):
        super().__init__()
        self.used = nn.Linear(4, 2)
        self.called = nn.Linear(4, 2)
        self.never = nn.Linear(4, 2)
        self.alone = nn.Parameter(torch.ones(3))

    def forward(self, x):
        self.called(x)
        return torch.tanh(self.used(x))


class SubclassedLinear(nn.Linear):
    """Looks like a dense layer and is none."""

    def forward(self, x):
        return F.linear(x, self.weight.sin(), self.bias) + self.weight.sum()


class FirstOfSequence(nn.Module):
    """A dense layer along a sequence that comes first, (S, N, D)."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        return self.last(torch.tanh(self.layer(x.transpose(0, 1))).mean(0))


class Positions(nn.Module):
    """Embeds tokens and adds positions, whose input has no samples."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(5, 4, padding_idx=0)
        self.positions = nn.Embedding(3, 4)
        self.norm = nn.LayerNorm(4)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        x = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        return self.last(self.norm(x).tanh().mean(1))


class Multiplied(nn.Module):
    """Keyword calls, two branches of one input, and a layer whose output is not used alone."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(4, 3)
        self.value = nn.Linear(4, 3)
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        return self.last(self.gate(input=x).sigmoid() * self.value(x))


def convolution(kind, size, channels=2, pooled=None, **options):
    """A convolution between two curved layers, read out by the mean over positions."""
    inward = options.pop("inward", channels)
    outward = options.pop("outward", 2)
    window = options.pop("kernel_size", 3)
    layer = kind(inward, outward, window, **options)
    before = {nn.Conv1d: nn.Conv1d, nn.ConvTranspose1d: nn.Conv1d}.get(kind)
    before = before or (nn.Conv3d if kind in (nn.Conv3d, nn.ConvTranspose3d) else nn.Conv2d)
    pool = {nn.Conv1d: nn.AdaptiveAvgPool1d, nn.Conv3d: nn.AdaptiveAvgPool3d}
    pool = pool.get(before, nn.AdaptiveAvgPool2d)(pooled or 1)
    cells = (pooled or 1) ** {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}[before]
    model = nn.Sequential(before(1, inward, 1), nn.Tanh(), layer, nn.Tanh(), pool, nn.Flatten())
    model.append(nn.Linear(outward * cells, 2))
    return on(model, 1, *size)


LAYERS = {
    "linear": lambda: on(nn.Linear(4, 3), 4),
    "linear without bias": lambda: on(nn.Sequential(nn.Linear(4, 3, bias=False)), 4),
    "two linear": lambda: on(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), 4),
    "relu": lambda: on(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), 4),
    "linear on a sequence": lambda: on(nn.Sequential(nn.Linear(3, 4), head(20)), 5, 3),
    "linear on a grid": lambda: on(nn.Sequential(nn.Linear(3, 2), head(8)), 2, 2, 3),
    "linear last on a sequence": lambda: on(
        nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Flatten()), 2, 3
    ),
    "conv1d": lambda: convolution(nn.Conv1d, (6,)),
    "conv1d circular": lambda: convolution(
        nn.Conv1d, (6,), padding=2, padding_mode="circular", stride=2
    ),
    "conv1d same even": lambda: convolution(nn.Conv1d, (6,), kernel_size=4, padding="same"),
    "conv1d dilated": lambda: convolution(nn.Conv1d, (7,), dilation=2, padding=1),
    "conv1d depthwise": lambda: convolution(nn.Conv1d, (6,), groups=2, outward=4),
    "conv2d": lambda: convolution(nn.Conv2d, (5, 4), pooled=2),
    "conv2d stride": lambda: convolution(nn.Conv2d, (6, 5), stride=(2, 1), padding=(1, 0)),
    "conv2d stride leaves a rest": lambda: convolution(nn.Conv2d, (6, 6), stride=2),
    "conv2d same": lambda: convolution(nn.Conv2d, (4, 4), padding="same", pooled=2),
    "conv2d same even": lambda: convolution(
        nn.Conv2d, (4, 5), kernel_size=(2, 4), padding="same", pooled=2
    ),
    "conv2d same dilated": lambda: convolution(
        nn.Conv2d, (5, 5), kernel_size=(2, 3), padding="same", dilation=(3, 2)
    ),
    "conv2d reflect": lambda: convolution(
        nn.Conv2d, (4, 5), padding=(2, 1), padding_mode="reflect", pooled=2
    ),
    "conv2d replicate": lambda: convolution(
        nn.Conv2d, (4, 3), padding=(1, 2), padding_mode="replicate"
    ),
    "conv2d circular": lambda: convolution(
        nn.Conv2d, (4, 3), padding=(1, 2), padding_mode="circular"
    ),
    "conv2d same reflect even": lambda: convolution(
        nn.Conv2d, (4, 5), kernel_size=(2, 4), padding="same", padding_mode="reflect"
    ),
    "conv2d dilated": lambda: convolution(nn.Conv2d, (6, 7), dilation=(2, 3), padding=1),
    "conv2d groups": lambda: convolution(nn.Conv2d, (4, 4), inward=4, outward=6, groups=2),
    "conv2d depthwise": lambda: convolution(nn.Conv2d, (4, 4), inward=3, outward=6, groups=3),
    "conv2d 1x1": lambda: convolution(nn.Conv2d, (3, 3), kernel_size=1),
    "conv2d without bias": lambda: convolution(nn.Conv2d, (4, 4), bias=False, padding=1),
    "conv2d many channels": lambda: convolution(
        nn.Conv2d, (2, 2), inward=8, outward=9, padding=1, pooled=2
    ),
    "conv2d is the output": lambda: on(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten()), 2, 3, 3),
    "conv3d": lambda: convolution(nn.Conv3d, (3, 4, 3), padding=(0, 1, 0)),
    "conv3d stride groups circular": lambda: convolution(
        nn.Conv3d, (3, 3, 4), stride=2, groups=2, padding=1, padding_mode="circular"
    ),
    "transposed 1d": lambda: convolution(nn.ConvTranspose1d, (4,), stride=2, padding=1),
    "transposed 1d output padding": lambda: convolution(
        nn.ConvTranspose1d, (4,), stride=3, padding=1, output_padding=2, dilation=2
    ),
    "transposed 2d": lambda: convolution(nn.ConvTranspose2d, (3, 4), pooled=2),
    "transposed 2d options": lambda: convolution(
        nn.ConvTranspose2d,
        (3, 4),
        inward=4,
        outward=6,
        groups=2,
        stride=(2, 3),
        padding=(1, 0),
        output_padding=(1, 2),
        dilation=(2, 1),
    ),
    "transposed 3d": lambda: convolution(nn.ConvTranspose3d, (2, 2, 2), stride=2, kernel_size=2),
    "batch norm 1d": lambda: on(
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2)), 4
    ),
    "batch norm 1d on a sequence": lambda: on(
        nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), head(12)), 2, 5
    ),
    "batch norm 2d": lambda: on(
        nn.Sequential(nn.Conv2d(1, 2, 2, bias=False), nn.BatchNorm2d(2), head(18)), 1, 4, 4
    ),
    "batch norm without scale": lambda: on(
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False), head(3)), 4
    ),
    "batch norm is the output": lambda: on(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), 4),
    "layer norm": lambda: on(
        nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 2)), 4
    ),
    "layer norm of two axes": lambda: on(
        nn.Sequential(nn.Conv2d(1, 2, 2), nn.LayerNorm((2, 3), bias=False), head(12)), 1, 3, 4
    ),
    "layer norm is the output": lambda: on(nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)), 4),
    "group norm": lambda: on(
        nn.Sequential(nn.Conv2d(1, 4, 2), nn.GroupNorm(2, 4), head(24)), 1, 3, 4
    ),
    "group norm of vectors": lambda: on(
        nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(2, 4), head(4)), 3
    ),
    "instance norm": lambda: on(
        nn.Sequential(nn.Conv1d(1, 2, 2), nn.InstanceNorm1d(2, affine=True), head(8)), 1, 5
    ),
    "rms norm": lambda: on(nn.Sequential(nn.Linear(4, 5), nn.RMSNorm(5, eps=1e-3), head(10)), 2, 4),
    "embedding": lambda: on(nn.Sequential(nn.Embedding(5, 3), head(12)), 4, below=5),
    "embedding of one index": lambda: on(nn.Sequential(nn.Embedding(4, 3), head(3)), below=4),
    "embedding is the output": lambda: on(nn.Embedding(3, 2), below=3),
    "embedding with padding": lambda: on(
        nn.Sequential(nn.Embedding(5, 3, padding_idx=1), head(12)), 4, below=5
    ),
    "embedding with negative padding": lambda: on(
        nn.Sequential(nn.Embedding(4, 3, padding_idx=-1), head(6)), 2, below=4
    ),
    "embedding with few rows": lambda: on(nn.Sequential(nn.Embedding(2, 5), head(30)), 6, below=2),
    "embedding bag": lambda: on(
        nn.Sequential(nn.EmbeddingBag(5, 3, mode="mean"), head(3)), 4, below=5
    ),
    "prelu": lambda: on(nn.Sequential(nn.Linear(4, 3), nn.PReLU(3), nn.Linear(3, 2)), 4),
    "bilinear by hand": lambda: on(Multiplied(), 4),
    "raw parameters": lambda: on(Scaled(), 4),
    "attention": lambda: on(Attention(), 3, 4),
    "transformer layer": lambda: on(
        nn.Sequential(nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True), head(12)),
        3,
        4,
    ),
    "gru": lambda: on(Recurrent(nn.GRU), 3, 3),
    "lstm": lambda: on(Recurrent(nn.LSTM), 3, 3),
    "weight norm": lambda: on(
        nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), head(3)), 4
    ),
    "weight norm of a convolution": lambda: on(
        nn.Sequential(parametrizations.weight_norm(nn.Conv1d(1, 2, 2)), head(6)), 1, 4
    ),
    "wide": lambda: on(
        nn.Sequential(
            nn.Linear(4, 80), nn.Tanh(), nn.Linear(80, 70), nn.GELU(), nn.Linear(70, 2, bias=False)
        ),
        4,
    ),
    "one output": lambda: on(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)), 4),
    "max pool": lambda: on(
        nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), head(12)), 1, 4, 4
    ),
}
"""One kind of layer at a time, with its options."""

SHARING = {
    "tied embedding": lambda: on(Tied(), 3, below=5),
    "called twice": lambda: on(Twice(by_hand=False), 4),
    "called twice and by hand": lambda: on(Twice(by_hand=True), 4),
    "convolution and norm called twice": lambda: on(ConvolutionTwice(), 2, 4, 4),
    "only by hand": lambda: on(FunctionalOnly(), 4),
    "one module in two places": lambda: on(
        (lambda layer: nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(4, 2)))(
            nn.Linear(4, 4)
        ),
        4,
    ),
    "in place": lambda: on(InPlace(), 4),
    "relu in place": lambda: on(
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 2)), 4
    ),
    "norm then relu in place": lambda: on(
        nn.Sequential(
            nn.Conv1d(1, 2, 2),
            nn.BatchNorm1d(2),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(8, 2),
        ),
        1,
        5,
    ),
    "relu in place is the output": lambda: on(
        nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True)), 4
    ),
    "unused": lambda: on(Unused(), 4),
    "subclass of a layer": lambda: on(nn.Sequential(SubclassedLinear(4, 3), head(3)), 4),
    "sequence first": lambda: on(FirstOfSequence(), 3, 3),
    "positions": lambda: on(Positions(), 3, below=5),
}
"""Parameters that are used in other ways than once, by the module that owns them."""

ALL = LAYERS | SHARING


ACTIVATIONS = (nn.Tanh, nn.SiLU, nn.Sigmoid, nn.GELU)


@st.composite
def dense_networks(draw, *, norms=True):
    """Dense layers, norms and activations, some of them in place."""
    width = start = draw(st.integers(1, 4))
    layers = []
    for _ in range(draw(st.integers(0, 3))):
        wide = draw(st.integers(1, 5))
        layers.append(nn.Linear(width, wide, bias=draw(st.booleans())))
        width = wide
        if norms and width > 1 and draw(st.booleans()):
            layers.append(draw(st.sampled_from((nn.LayerNorm, nn.BatchNorm1d)))(width))
        layers.append(draw(st.sampled_from((*ACTIVATIONS, lambda: nn.ELU(inplace=True))))())
    layers.append(nn.Linear(width, draw(st.integers(1, 3)), bias=draw(st.booleans())))
    return on(nn.Sequential(*layers), start)


@st.composite
def convolutions(draw, channels, sides):
    """A convolution with random options that fits images of these sides."""
    groups = draw(st.sampled_from([each for each in (1, 2, 4) if channels % each == 0]))
    window = [draw(st.integers(1, min(3, side))) for side in sides]
    gaps = [
        draw(st.integers(1, 2)) if 2 * size - 1 <= side else 1
        for size, side in zip(window, sides, strict=True)
    ]
    same = draw(st.booleans())
    modes = ("zeros", "reflect", "replicate", "circular") if min(sides) > 2 else ("zeros",)
    return nn.Conv2d(
        channels,
        groups * draw(st.integers(1, 2)),
        window,
        stride=1 if same else [draw(st.integers(1, 2)) for _ in sides],
        dilation=gaps,
        padding="same" if same else [draw(st.integers(0, 1)) for _ in sides],
        padding_mode=draw(st.sampled_from(modes)),
        groups=groups,
        bias=draw(st.booleans()),
    )


@st.composite
def image_networks(draw, *, norms=True):
    """A stack of convolutions with random options, norms and poolings, then a dense layer."""
    channels = draw(st.sampled_from((1, 2, 4)))
    shape = made = (channels, draw(st.integers(3, 7)), draw(st.integers(3, 7)))
    layers = []
    for _ in range(draw(st.integers(1, 2))):
        layers.append(draw(convolutions(made[0], made[1:])))
        made = shape_made(layers, shape)
        if norms and draw(st.booleans()):
            norm = draw(st.sampled_from((nn.BatchNorm2d, lambda wide: nn.GroupNorm(1, wide))))
            layers.append(norm(made[0]))
        layers.append(draw(st.sampled_from(ACTIVATIONS))())
    layers += [nn.AdaptiveAvgPool2d(draw(st.integers(1, 2))), nn.Flatten()]
    layers.append(nn.Linear(*shape_made(layers, shape), draw(st.integers(1, 3))))
    return on(nn.Sequential(*layers), *shape)


def shape_made(layers, shape):
    """Of what a stack of layers makes of one sample."""
    with torch.no_grad():
        return nn.Sequential(*layers).eval()(torch.ones(1, *shape)).shape[1:]


@st.composite
def sequence_networks(draw, *, norms=True):
    """Tokens embedded, then dense layers and norms along the sequence."""
    rows, width, length = draw(st.integers(2, 5)), draw(st.integers(2, 4)), draw(st.integers(1, 4))
    padding = draw(st.none() | st.integers(0, rows - 1))
    layers = [nn.Embedding(rows, width, padding_idx=padding)]
    for _ in range(draw(st.integers(0, 2))):
        wide = draw(st.integers(2, 4))
        layers.append(nn.Linear(width, wide, bias=draw(st.booleans())))
        width = wide
        if norms and draw(st.booleans()):
            norm = draw(st.sampled_from((nn.LayerNorm, lambda wide: nn.RMSNorm(wide, eps=1e-3))))
            layers.append(norm(width))
        layers.append(draw(st.sampled_from(ACTIVATIONS))())
    layers += [nn.Flatten(), nn.Linear(width * length, draw(st.integers(1, 3)))]
    return on(nn.Sequential(*layers), length, below=rows)


def built_networks(*, norms=True):
    """Any of the above."""
    kinds = (dense_networks, image_networks, sequence_networks)
    return st.one_of([kind(norms=norms) for kind in kinds])
