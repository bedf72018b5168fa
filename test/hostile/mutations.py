"""Bytes and text changed at random, by a random generator that a test has seeded."""

NASTY = (
    *("", "null", "true", "[]", "{}", "[[[[]]]]", "-1", "0", "1", "1e308", "-1e308", "1e-320", ".inf", ".nan", "nan"),
    *(
        "9" * 400,
        "0x7fffffffffffffff",
        "-9223372036854775809",
        "2026-11-22",
        "1:30",
        "~",
        "!!python/object:os.system x",
    ),
    *(
        "&a [*a]",
        "*b",
        "'",
        '"',
        "\t",
        "\0",
        "\ufeff",
        "\u202e",
        "x" * 5000,
        "%",
        "{{x}}",
        "../../x",
        "/dev/zero",
        "[red]",
    ),
)


def damaged(content, rng):
    """Bytes with some of them changed, cut out, put in, doubled, or the end cut off."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        begin = int(rng.integers(len(content) + 1))
        end = min(begin + int(2 ** rng.uniform(0, 10)), len(content))
        what = rng.integers(6)
        if what == 0:
            content[begin:end] = rng.bytes(end - begin)
        elif what == 1:
            del content[begin:end]
        elif what == 2:
            content[begin:begin] = content[begin:end]
        elif what == 3:
            content[begin : begin + 4] = b"\xff\xff\xff\x7f"
        elif what == 4:
            content[begin : begin + 8] = bytes(8)
        else:
            del content[begin:]
    return bytes(content)


def spoiled(text, rng):
    """Text with words, lines or values replaced by nasty ones, or some bytes of it damaged."""
    if rng.random() < 0.2:
        return damaged(text.encode(), rng)
    for _ in range(rng.integers(1, 4)):
        words = text.replace(",", " , ").replace("]", " ]").split(" ")
        words[int(rng.integers(len(words)))] = NASTY[int(rng.integers(len(NASTY)))]
        text = " ".join(words)
    return text.encode("utf-8", "surrogatepass")
