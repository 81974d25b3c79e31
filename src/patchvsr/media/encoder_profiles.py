"""Per-encoder defaults and limits, as data for `encoders`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Profile:
    """The defaults and limits of an encoder.

    `fixed` and `threads` make the bytes independent of the number of cores. Encoders otherwise choose their
    parallelism, and with it slices and lookahead, by the machine. x265 also writes the CPU features into the stream
    unless `info=0`. x265 4.x overruns its memory below 56 pixels of width and crashes the process, hence `min_side_px`;
    SVT-AV1 refuses frames smaller than its blocks.

    x264's macroblock tree is off: on CPUs with AVX-512 its 8-bit code gives bytes that vary from run to run unless
    the width is a multiple of 128 (measured with PyAV 17.1 and 18.1). Equal quality settings then take about a third
    more bytes; `-e x264-params=no-mbtree=0` turns it on again.
    """

    crf: int | None = None
    no_crf: str = ""  # reason why there is no CRF, for the error message
    fixed: dict[str, str] = field(default_factory=dict)
    by_pix_fmt: dict[str, dict[str, str]] = field(default_factory=dict)  # options required by a pixel format
    threads: int = 4
    frame_threads: bool = False
    min_side_px: int = 2
    # For sources of 8 bits, of up to 10 bits, and beyond.
    pix_fmts: tuple[str, str, str] = ("yuv420p", "yuv420p10le", "yuv420p10le")
    odd_pix_fmts: tuple[str, str, str] | None = ("yuv444p", "yuv444p10le", "yuv444p10le")


_X265 = "info=0:log-level=error:wpp=0:lookahead-slices=0:frame-threads=3"
_FIXED_QUALITY = "has no crf; choose the quality with its options (profile)"
_RGB = ("bgr0", "gbrp16le", "gbrp16le")
PROFILES = {
    "libx264": Profile(crf=16, fixed={"x264-params": "no-mbtree=1"}, frame_threads=True),
    "libx265": Profile(
        crf=18,
        fixed={"x265-params": _X265},
        min_side_px=64,
        pix_fmts=("yuv420p", "yuv420p10le", "yuv420p12le"),
        odd_pix_fmts=("yuv444p", "yuv444p10le", "yuv444p12le"),
    ),
    "libsvtav1": Profile(crf=22, odd_pix_fmts=None, min_side_px=64),
    "libaom-av1": Profile(crf=22, fixed={"cpu-used": "6"}),
    # b=0 selects constant quality. Alpha is a second stream, which cannot have alternate reference frames.
    "libvpx-vp9": Profile(
        crf=24,
        fixed={"b": "0", "row-mt": "0", "deadline": "good", "cpu-used": "2"},
        by_pix_fmt={"yuva420p": {"auto-alt-ref": "0"}},
    ),
    # The encoder picks 422 HQ or 4444 by the pixel format.
    "prores_ks": Profile(
        no_crf=_FIXED_QUALITY,
        pix_fmts=("yuv422p10le",) * 3,
        odd_pix_fmts=("yuv444p10le",) * 3,
    ),
    "dnxhd": Profile(
        no_crf=_FIXED_QUALITY,
        by_pix_fmt={
            "yuv422p": {"profile": "dnxhr_hq"},
            "yuv422p10le": {"profile": "dnxhr_hqx"},
            "yuv444p10le": {"profile": "dnxhr_444"},
        },
        min_side_px=256,
        pix_fmts=("yuv422p", "yuv422p10le", "yuv422p10le"),
        odd_pix_fmts=("yuv444p10le",) * 3,
    ),
    "ffv1": Profile(
        no_crf="is lossless and has no quality setting; leave crf out",
        fixed={"level": "3", "slices": "4", "slicecrc": "1", "g": "1"},
        pix_fmts=_RGB,
        odd_pix_fmts=_RGB,
    ),
}


# Formats that keep alpha, for sources of 8, 10 and more bits. Without VP9, whose alpha FFmpeg's own decoder ignores,
# and without x265, which lists such formats but refuses to open with them.
ALPHA_PIX_FMTS = {
    "ffv1": ("bgra", "gbrap16le", "gbrap16le"),
    "prores": ("yuva444p10le", "yuva444p10le", "yuva444p10le"),
    "prores_aw": ("yuva444p10le", "yuva444p10le", "yuva444p10le"),
    "prores_ks": ("yuva444p10le", "yuva444p10le", "yuva444p10le"),
    "qtrle": ("argb", "argb", "argb"),
    "png": ("rgba", "rgba64be", "rgba64be"),
}


# With any other profile, prores_ks accepts frames with alpha and drops it.
PRORES_ALPHA_PROFILES = ("auto", "-1", "4444", "4", "4444xq", "5")
