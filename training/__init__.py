# SPDX-License-Identifier: Apache-2.0
"""
Training: face crops that are cached once, self-blended clips made on the fly, and one loop for all architectures.

From top to bottom, each module imports only modules below it:

    train_command    the command line
    training_run     train(plan), from the plan to the model folder
    plan             TrainingPlan, TrainingListener, TrainingResult
    model_folder, trained_card    calibration, record and card of the trained model
    loop             the training loop
    validation, checkpointing, training_log, optimization, networks    its parts
    modes            what a network is trained on, and its loss: inputs() and loss()
    features, regions, batch_sources, pixels    parts of the modes
    batches          which pairs of a real and a fake clip are drawn
    cpu_pairs        the pixels of a pair, with NumPy and Pillow
    device_pairs     the pixels of a batch of pairs, with tensor operations
    device_blending, device_degradation, device_jpeg, device_operations    its operations
    pair_plans       what a pair is before its pixels are computed
    data             from data sets to training and validation videos
    recipe           every setting except the data
    crops, copies    face crops and re-encoded copies on disk
    fakes, faults, blending, augmentation, colors    random draws for the training data
"""
