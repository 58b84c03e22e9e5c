// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title What a consumer asks a registry.
interface IModelRegistry {
    /// @notice What the registry's owner says about a model's pin.
    /// @dev `Unknown` is zero, so what nobody published is never active.
    enum Status {
        Unknown,
        Active,
        Superseded,
        Revoked
    }

    /// @notice The status of the pin (code hash of a single verifier, or VKA digest).
    function statusOf(bytes32 modelPin) external view returns (Status);
}

/// @title Versions of models that one owner vouches for: published, superseded by the next, or revoked.
/// @notice A consumer that follows it opens requests for an active version only, and settles none of a revoked one.
contract ModelRegistry is IModelRegistry {
    /// @notice One version of a model: its circuit's digest and where it is verified.
    struct Version {
        bytes32 circuit;
        bytes32 modelPin;
        address verifier;
    }

    /// @notice Who publishes and revokes.
    address public owner;
    /// @notice Who becomes the owner by accepting.
    address public pendingOwner;

    /// @inheritdoc IModelRegistry
    mapping(bytes32 modelPin => Status) public statusOf;
    // It is filled through a storage pointer, which slither does not follow.
    // slither-disable-next-line uninitialized-state
    mapping(bytes32 model => Version[]) private _versions;

    event Published(bytes32 indexed model, bytes32 indexed modelPin, bytes32 circuit, address verifier, uint256 version);
    event Superseded(bytes32 indexed model, bytes32 indexed modelPin);
    event Revoked(bytes32 indexed modelPin);
    event OwnershipOffered(address indexed to);
    event OwnershipTaken(address indexed owner);

    error NotOwner();
    error NotOffered();
    error PinEmpty();
    error PinPublished(bytes32 modelPin);
    error PinNotPublished(bytes32 modelPin);
    error NoVersion(bytes32 model);

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner();
        _;
    }

    constructor() {
        owner = msg.sender;
    }

    /// @notice Publishes the next version of `model` and supersedes the one before, if that is active.
    /// @param model SHA-256 of the ONNX file as given.
    /// @param version Its circuit, pin and verifier. A pin is published once, so none comes back after it was revoked.
    function publish(bytes32 model, Version calldata version) external onlyOwner {
        if (version.modelPin == 0) revert PinEmpty();
        if (statusOf[version.modelPin] != Status.Unknown) revert PinPublished(version.modelPin);
        Version[] storage versions = _versions[model];
        uint256 count = versions.length;
        if (count > 0) {
            bytes32 before = versions[count - 1].modelPin;
            if (statusOf[before] == Status.Active) {
                statusOf[before] = Status.Superseded;
                emit Superseded(model, before);
            }
        }
        versions.push(version);
        statusOf[version.modelPin] = Status.Active;
        emit Published(model, version.modelPin, version.circuit, version.verifier, count + 1);
    }

    /// @notice Revokes a version for good.
    function revoke(bytes32 modelPin) external onlyOwner {
        if (statusOf[modelPin] == Status.Unknown) revert PinNotPublished(modelPin);
        statusOf[modelPin] = Status.Revoked;
        emit Revoked(modelPin);
    }

    /// @notice How many versions of `model` were published.
    function versionCount(bytes32 model) external view returns (uint256) {
        return _versions[model].length;
    }

    /// @notice The newest version of `model`, and its status: it may be revoked.
    function latest(bytes32 model) external view returns (Version memory version, Status status) {
        Version[] storage versions = _versions[model];
        if (versions.length == 0) revert NoVersion(model);
        version = versions[versions.length - 1];
        status = statusOf[version.modelPin];
    }

    /// @notice Offers the registry to `to`, who has to accept; an offer to nobody, the zero address, takes one back.
    function offerOwnership(address to) external onlyOwner {
        pendingOwner = to;
        emit OwnershipOffered(to);
    }

    /// @notice Takes the registry that was offered to the caller.
    function takeOwnership() external {
        if (msg.sender != pendingOwner) revert NotOffered();
        owner = msg.sender;
        pendingOwner = address(0);
        emit OwnershipTaken(msg.sender);
    }
}
