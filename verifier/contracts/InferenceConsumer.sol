// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IVerinferReusableVerifier, IVerinferVerifier} from "./IVerinferVerifier.sol";
import {IModelRegistry} from "./ModelRegistry.sol";

/// @title Takes an answer of one pinned model for its own request, on the request's input, once.
/// @notice Open a request with the hash of the input; ask the service with the request's nonce; settle with the receipt's proof.
/// @dev Anybody may settle: what decides is the proof, and the sender gets nothing. Build on it through `_onSettled` and
/// `_onExpired`, which run after all state is written.
contract InferenceConsumer {
    /// @notice The model: who verifies it, and how its instances are laid out (see `contract.json`).
    struct Model {
        address verifier;
        bytes32 codeHash; // of the verifier's runtime code
        bytes32 vkaDigest; // of the circuit, with a reusable verifier; else zero
        uint32 inputs; // instances before the challenge
        uint32 outputs; // instances after it
        uint32 proofBytes;
        uint8 outputScale; // an output is the integer divided by 2^outputScale
    }

    enum State {
        None,
        Open,
        Settled,
        Expired
    }

    struct Request {
        address requester;
        uint64 deadline; // seconds since 1970; the last at which it can be settled
        State state;
        bytes32 inputHash; // keccak256 of the input's instances as 32-byte words
    }

    /// @dev The order of BN254's groups (EIP-196): an instance is below it.
    uint256 private constant R = 0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001;
    bytes32 private constant REQUEST_TAG = keccak256("verinfer/request/v1");
    uint256 private constant LIMBS = 16;

    address public immutable verifier;
    bytes32 public immutable codeHash;
    bytes32 public immutable vkaDigest;
    uint256 public immutable inputs;
    uint256 public immutable outputs;
    uint256 public immutable proofBytes;
    uint8 public immutable outputScale;
    /// @notice The registry that this consumer follows; zero for none.
    IModelRegistry public immutable registry;

    /// @notice How many requests there were; the ids are 1 to this.
    uint256 public requestCount;
    mapping(uint256 requestId => Request) private _requests;
    mapping(uint256 requestId => int64[]) private _answers;

    /// @notice A request was opened; the service has to be asked with this nonce.
    event Requested(
        uint256 indexed requestId, address indexed requester, bytes32 nonce, bytes32 inputHash, uint64 deadline
    );
    /// @notice A request has its answer. `claimedStatement` is a handle to the receipt: the proof binds its digest, but what the
    /// statement says was not read here.
    event Settled(uint256 indexed requestId, bytes32 claimedStatement, int64[] answer);
    event Expired(uint256 indexed requestId);

    error LayoutEmpty();
    error OtherVerifier(bytes32 codeHash);
    error OtherModel(bytes32 vkaDigest);
    error ModelNotActive(IModelRegistry.Status status);
    error ModelRevoked();
    error UnknownRequest(uint256 requestId);
    error AlreadySettled(uint256 requestId);
    error AlreadyExpired(uint256 requestId);
    error NotSettled(uint256 requestId);
    error DeadlinePassed(uint64 deadline);
    error DeadlineNotPassed(uint64 deadline);
    error WrongProofLength(uint256 expected, uint256 given);
    error WrongInstanceCount(uint256 expected, uint256 given);
    error InstanceNotCanonical(uint256 index);
    error OtherChallenge();
    error OtherInput();
    error AnswerOutOfRange(uint256 index);
    error ProofRejected();

    constructor(Model memory model, IModelRegistry registry_) {
        if (model.inputs == 0 || model.outputs == 0) revert LayoutEmpty();
        if (model.verifier.codehash != model.codeHash) revert OtherVerifier(model.verifier.codehash);
        verifier = model.verifier;
        codeHash = model.codeHash;
        vkaDigest = model.vkaDigest;
        inputs = model.inputs;
        outputs = model.outputs;
        proofBytes = model.proofBytes;
        outputScale = model.outputScale;
        registry = registry_;
    }

    /// @notice What stands for the model in a request's nonce: the code hash of its verifier, or its VKA digest.
    function modelPin() public view returns (bytes32) {
        return vkaDigest == 0 ? codeHash : vkaDigest;
    }

    /// @notice Opens a request that can be settled until `deadline`, with an answer on the input of this hash.
    /// @param inputHash keccak256 of the input's instances, in the manifest's order, as 32-byte big-endian words.
    function request(bytes32 inputHash, uint64 deadline) external returns (uint256 requestId) {
        return _open(msg.sender, inputHash, deadline);
    }

    /// @notice Settles a request; reverts, and changes nothing, unless the proof is valid for exactly this request.
    /// @param instances The circuit's public numbers; their challenge must be that of the stored request.
    /// @param vka With a reusable verifier the circuit's VKA, else empty.
    /// @param claimedStatement The digest of the receipt's statement.
    function settle(
        uint256 requestId,
        bytes calldata proof,
        uint256[] calldata instances,
        bytes32[] calldata vka,
        bytes32 claimedStatement
    ) external {
        Request storage found = _requests[requestId];
        _requireOpen(requestId, found.state);
        // solhint-disable-next-line not-rely-on-time -- seconds of drift do not matter for a deadline
        if (block.timestamp > found.deadline) revert DeadlinePassed(found.deadline);
        if (address(registry) != address(0) && registry.statusOf(modelPin()) == IModelRegistry.Status.Revoked) {
            revert ModelRevoked();
        }
        _requireInstances(instances);
        _requireChallenge(instances, nonceOf(requestId), claimedStatement);
        if (keccak256(abi.encodePacked(instances[:inputs])) != found.inputHash) revert OtherInput();
        int64[] memory answer = _decode(instances[inputs + LIMBS:]);

        found.state = State.Settled;
        _answers[requestId] = answer;
        _requireProof(proof, instances, vka);
        emit Settled(requestId, claimedStatement, answer);
        _onSettled(requestId, found.requester, answer);
    }

    /// @notice Closes a request that was not settled in time.
    function expire(uint256 requestId) external {
        Request storage found = _requests[requestId];
        _requireOpen(requestId, found.state);
        // solhint-disable-next-line not-rely-on-time -- seconds of drift do not matter for a deadline
        if (block.timestamp <= found.deadline) revert DeadlineNotPassed(found.deadline);
        found.state = State.Expired;
        emit Expired(requestId);
        _onExpired(requestId, found.requester);
    }

    /// @notice A request as it was opened, and its state.
    function requestOf(uint256 requestId) external view returns (Request memory) {
        return _requests[requestId];
    }

    /// @notice The nonce that the service has to be asked with; it binds chain, consumer, request, model and input.
    function nonceOf(uint256 requestId) public view returns (bytes32) {
        Request storage found = _requests[requestId];
        if (found.state == State.None) revert UnknownRequest(requestId);
        return keccak256(
            abi.encode(
                REQUEST_TAG,
                block.chainid,
                address(this),
                found.requester,
                requestId,
                found.deadline,
                modelPin(),
                found.inputHash
            )
        );
    }

    /// @notice The answer of a settled request: signed integers, each to be divided by 2^outputScale.
    function answerOf(uint256 requestId) external view returns (int64[] memory) {
        if (_requests[requestId].state != State.Settled) revert NotSettled(requestId);
        return _answers[requestId];
    }

    /// @dev Opens a request in the name of `requester`.
    function _open(address requester, bytes32 inputHash, uint64 deadline) internal returns (uint256 requestId) {
        // solhint-disable-next-line not-rely-on-time -- seconds of drift do not matter for a deadline
        if (block.timestamp > deadline) revert DeadlinePassed(deadline);
        if (address(registry) != address(0)) {
            IModelRegistry.Status status = registry.statusOf(modelPin());
            if (status != IModelRegistry.Status.Active) revert ModelNotActive(status);
        }
        requestId = ++requestCount;
        _requests[requestId] = Request(requester, deadline, State.Open, inputHash);
        emit Requested(requestId, requester, nonceOf(requestId), inputHash, deadline);
    }

    /// @dev Called once for each settled request, after all state is written.
    function _onSettled(uint256 requestId, address requester, int64[] memory answer) internal virtual {}

    /// @dev Called once for each expired request, after all state is written.
    function _onExpired(uint256 requestId, address requester) internal virtual {}

    function _requireOpen(uint256 requestId, State state) private pure {
        if (state == State.None) revert UnknownRequest(requestId);
        if (state == State.Settled) revert AlreadySettled(requestId);
        if (state == State.Expired) revert AlreadyExpired(requestId);
    }

    function _requireInstances(uint256[] calldata instances) private view {
        uint256 count = inputs + LIMBS + outputs;
        if (instances.length != count) revert WrongInstanceCount(count, instances.length);
        for (uint256 i = 0; i < count; ++i) {
            if (instances[i] >= R) revert InstanceNotCanonical(i);
        }
    }

    /// @dev The 16 limbs of SHA-256("verinfer/challenge/v1" ‖ nonce ‖ statement digest) tie the proof to request and receipt.
    function _requireChallenge(uint256[] calldata instances, bytes32 nonce, bytes32 claimedStatement) private view {
        uint256 challenge = uint256(sha256(abi.encodePacked("verinfer/challenge/v1", nonce, claimedStatement)));
        for (uint256 i = 0; i < LIMBS; ++i) {
            if (instances[inputs + i] != (challenge >> (240 - 16 * i)) & 0xffff) revert OtherChallenge();
        }
    }

    /// @dev Negative numbers are R - |v|.
    function _decode(uint256[] calldata elements) private view returns (int64[] memory answer) {
        answer = new int64[](outputs);
        for (uint256 i = 0; i < answer.length; ++i) {
            uint256 element = elements[i];
            bool negative = element > R / 2;
            uint256 magnitude = negative ? R - element : element;
            if (magnitude > uint64(type(int64).max)) revert AnswerOutOfRange(i);
            // forge-lint: disable-next-line(unsafe-typecast) -- within int64, as the line above says
            answer[i] = negative ? -int64(uint64(magnitude)) : int64(uint64(magnitude));
        }
    }

    /// @dev Through the typed interfaces only: these encode the calldata anew, in the one form that the verifier reads.
    function _requireProof(bytes calldata proof, uint256[] calldata instances, bytes32[] calldata vka) private view {
        if (proof.length != proofBytes) revert WrongProofLength(proofBytes, proof.length);
        if (verifier.codehash != codeHash) revert OtherVerifier(verifier.codehash);
        if (vkaDigest == 0) {
            try IVerinferVerifier(verifier).verifyProof(proof, instances) returns (bool valid) {
                if (!valid) revert ProofRejected();
            } catch {
                revert ProofRejected();
            }
        } else {
            try IVerinferReusableVerifier(verifier).verifyProof(proof, instances, vka) returns (
                bool valid, bytes32 digest
            ) {
                if (!valid) revert ProofRejected();
                if (digest != vkaDigest) revert OtherModel(digest);
            } catch {
                revert ProofRejected();
            }
        }
    }
}
