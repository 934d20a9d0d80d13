"""Error texts of GPU libraries become typed causes with a policy."""

from __future__ import annotations

import pickle

import pytest

from encoders.backends.nverrors import (
    BadConfiguration,
    DeviceFault,
    GpuCause,
    GpuPolicy,
    NoDevice,
    SessionsExhausted,
    Unsupported,
    classify_cause,
    to_gpu_error,
)
from encoders.errors import BackendUnavailable, Failure, Fault


def nvc_text(func: str, code: int) -> str:
    """How PyNvVideoCodec words an exception."""
    return f"{func} : \nError code : {code}\nError Type : whatever"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (1, NoDevice),
        (2, NoDevice),
        (5, DeviceFault),
        (8, BadConfiguration),
        (10, SessionsExhausted),
        (12, Unsupported),
        (15, Unsupported),
        (18, DeviceFault),
        (20, DeviceFault),
        (21, SessionsExhausted),
    ],
)
def test_codes_of_the_encoder(code: int, cause: GpuCause) -> None:
    assert classify_cause(nvc_text("NvEncoder::DoEncode", code)) is cause


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (2, SessionsExhausted),
        (100, NoDevice),
        (101, NoDevice),
        (700, DeviceFault),
        (719, DeviceFault),
        (801, Unsupported),
        (999, Unsupported),
        (214, DeviceFault),
    ],
)
def test_codes_of_the_decoder_are_cuda_s(code: int, cause: GpuCause) -> None:
    assert classify_cause(nvc_text("HandlePictureDecode", code)) is cause


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Failed to load NVENC library: libnvidia-encode.so.1: cannot open shared object file", NoDevice),
        ("libcuda.so.1: cannot open shared object file: No such file or directory", NoDevice),
        ("No module named 'PyNvVideoCodec'", NoDevice),
        ("Driver version is too old", Unsupported),
        ("cudaErrorInsufficientDriver: CUDA driver version is insufficient", NoDevice),
        ("cudaErrorIllegalAddress: an illegal memory access was encountered", DeviceFault),
        ("CUDA_ERROR_OUT_OF_MEMORY: out of memory", SessionsExhausted),
        ("[Errno 1] Operation not permitted: 'h264_nvenc'", NoDevice),
        ("OpenEncodeSessionEx failed: out of memory (10)", SessionsExhausted),
        ("Codec not supported on this GPU", Unsupported),
        ("Invalid strides", BadConfiguration),
        ("the moon is in the wrong house", DeviceFault),
    ],
)
def test_texts_without_a_code(text: str, cause: GpuCause) -> None:
    assert classify_cause(text) is cause


@pytest.mark.parametrize(
    ("cause", "policy", "unavailable"),
    [
        (NoDevice, GpuPolicy.REMOVE_LANE, True),
        (Unsupported, GpuPolicy.NEXT_BACKEND, True),
        (BadConfiguration, GpuPolicy.NEXT_BACKEND, True),
        (SessionsExhausted, GpuPolicy.BACK_OFF, False),
        (DeviceFault, GpuPolicy.FENCE, False),
    ],
)
def test_every_cause_has_a_policy_and_is_the_device_s_fault(
    cause: GpuCause, policy: GpuPolicy, unavailable: bool
) -> None:
    assert cause.policy is policy
    assert cause.fault is Fault.DEVICE
    assert issubclass(cause, BackendUnavailable) is unavailable


def test_a_library_s_exception_becomes_one_sentence_that_survives_pickling() -> None:
    error = to_gpu_error(RuntimeError(nvc_text("NvEncoder::CreateEncoder", 21)), "open an encode session for 720p")

    assert type(error) is SessionsExhausted
    assert "open an encode session for 720p" in error.detail
    assert "\n" not in error.detail
    assert pickle.loads(pickle.dumps(error)).detail == error.detail
    assert Failure.of(error).code == "encode_sessions_exhausted"
